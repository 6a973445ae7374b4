//! The policy of the page, and texts that want to be more than text.

use crate::{browser::Look, page::visit, process::demo, requests, stage::Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_allows_nothing_inline_and_no_other_server() {
    let (_serve, address) = demo(&[]).await;
    for path in ["/", "/docs"] {
        let answer = requests::client().get(format!("{address}{path}")).send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let directive = |name: &str| {
            policy.split(';').map(str::trim).find_map(|one| one.strip_prefix(name)?.strip_prefix(' '))
        };
        assert!(["'none'", "'self'"].contains(&directive("default-src").unwrap()), "{policy}");
        assert!(directive("frame-ancestors").is_some() && directive("base-uri").is_some(), "{policy}");
        assert!(!policy.contains("unsafe-"), "{policy}");
        for sources in ["script-src", "style-src", "connect-src"] {
            assert_eq!(directive(sources), Some("'self'"), "{policy}");
        }
        assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_stops_a_script_in_the_page() {
    let (_serve, address) = demo(&[]).await;
    crate::page::visit_expecting(&["Content Security Policy"], Look::Desk, &address, async |page| {
        let add = "
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            return window.ran === true;";
        assert_eq!(page.browser.script(add, Vec::new()).await, false, "an inline script ran");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_shown_as_text() {
    const HOSTILE: &str = "<script>window.ran = true</script><img src=x onerror='window.ran = true'>";
    let mut stage = Stage::with(&[], |worker| {
        worker.device = HOSTILE.to_owned();
        worker.loras = vec![HOSTILE.replace('/', "")];
    })
    .await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.generate(HOSTILE).await;
        let mut job = stage.claim().await;
        assert_eq!(job.lease.job.spec.prompt(), HOSTILE);
        job.preview(0).await;
        page.shows("the preview", |shown| shown.has("Preview")).await;
        job.fail(HOSTILE).await;
        page.shows("the reason", |shown| shown.text.contains("window.ran")).await;

        page.generate(HOSTILE).await;
        stage.claim().await.complete().await;
        page.finished().await;
        page.reload().await;
        page.finished().await;
        page.press("Same settings again").await;
        page.until("the prompt", async || page.value_of("Prompt").await == HOSTILE).await;
        let added =
            "return [window.ran === true, document.querySelectorAll('body script, img[src=x]').length]";
        assert_eq!(page.browser.script(added, Vec::new()).await, serde_json::json!([false, 0]));
    })
    .await;
}
