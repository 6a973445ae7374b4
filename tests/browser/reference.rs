//! The page of the routes.

use crate::{browser::Look, page::visit, process::demo};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_routes_is_accessible_and_fits_a_phone() {
    let (_serve, address) = demo(&[]).await;
    for (look, state) in [(Look::Desk, "docs"), (Look::Dark, "docs-dark"), (Look::Phone, "docs-phone")] {
        visit(look, &address, async |page| {
            page.browser.driver.goto(&format!("{address}/docs")).await.unwrap();
            page.shows("the routes", |shown| shown.text.contains("/v1/jobs")).await;
            let (page_width, window) = page.widths().await;
            assert!(page_width <= window, "the page is {page_width} pixels wide in a window of {window}");
            match look {
                // It is long, and has the same parts on a phone.
                Look::Phone => page.save_as(state).await,
                _ => page.is_accessible(state).await,
            }
        })
        .await;
    }
}
