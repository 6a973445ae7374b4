//! Tests of the folder of certificates.

use super::*;

fn names(listen: &str) -> Names {
    Names::of(listen, None)
}

fn texts(folder: &Path) -> [String; 4] {
    ["ca.pem", "ca-key.pem", "cert.pem", "key.pem"]
        .map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_second_start_uses_the_files_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("new/tls");
    open(&inner, &names("127.0.0.1:8080")).unwrap();
    let first = texts(&inner);
    assert!(first.iter().all(|text| text.starts_with("-----BEGIN")));
    let kinds = ["ca-key.pem", "key.pem", "ca.pem", "cert.pem"].map(|name| mode(&inner.join(name)));
    assert_eq!(kinds[..2], [0o600, 0o600]);
    assert!(kinds[2..].iter().all(|mode| mode & 0o400 != 0));
    open(&inner, &names("localhost:9090")).unwrap();
    assert_eq!(texts(&inner), first);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 4, "no other files");
}

#[test]
fn a_crash_between_two_files_is_repaired_and_the_authority_stays_if_it_can() {
    // The files that a start has written before it was killed, on top of those of an earlier start.
    let order = ["ca-key.pem", "ca.pem", "key.pem", "cert.pem"];
    let fresh = tempfile::tempdir().unwrap();
    open(fresh.path(), &names("127.0.0.1:1")).unwrap();
    for before in [false, true] {
        for written in 0..=order.len() {
            let folder = tempfile::tempdir().unwrap();
            if before {
                open(folder.path(), &names("127.0.0.1:1")).unwrap();
            }
            for name in &order[..written] {
                fs::copy(fresh.path().join(name), folder.path().join(name)).unwrap();
            }
            open(folder.path(), &names("127.0.0.1:1")).unwrap();
            let [ca, _, cert, key] = texts(folder.path());
            let files = Files::of(folder.path());
            assert!(files.accepted(&ca, &cert, &key, &names("127.0.0.1:1")).is_some(), "{before} {written}");
            if written >= 2 {
                assert_eq!(ca, texts(fresh.path())[0], "{before} {written}");
            }
        }
    }
}

#[test]
fn damaged_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &names("127.0.0.1:1")).unwrap();
    let ca = texts(folder.path())[0].clone();
    for damaged in [["cert.pem", ""], ["key.pem", "-----BEGIN"], ["cert.pem", "\u{0}\u{1}"]] {
        fs::write(folder.path().join(damaged[0]), damaged[1]).unwrap();
        open(folder.path(), &names("127.0.0.1:1")).unwrap();
        assert_eq!(texts(folder.path())[0], ca, "clients need no new file");
    }
    fs::write(folder.path().join("ca-key.pem"), "x").unwrap();
    fs::remove_file(folder.path().join("cert.pem")).unwrap();
    open(folder.path(), &names("127.0.0.1:1")).unwrap();
    assert_ne!(texts(folder.path())[0], ca);
}

#[test]
fn other_names_need_a_new_authority() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &names("10.0.0.1:8080")).unwrap();
    let first = texts(folder.path());
    // The certificate is for these names too.
    open(folder.path(), &names("127.0.0.1:8080")).unwrap();
    assert_eq!(texts(folder.path()), first);
    open(folder.path(), &names("10.0.0.2:8080")).unwrap();
    let second = texts(folder.path());
    assert!(first.iter().zip(&second).all(|(before, after)| before != after));
    // The authority itself may not sign for others.
    let [ca, ca_key, ..] = second;
    let files = Files::of(folder.path());
    let authority = Authority::of_key(&ca_key).unwrap();
    for (listen, public, may) in
        [("10.0.0.2:1", None, true), ("10.0.0.3:1", None, false), ("10.0.0.2:1", Some("fal.run"), false)]
    {
        let names = Names::of(listen, public);
        let signed = authority.sign(&names).unwrap();
        assert_eq!(
            files.accepted(&ca, &signed.cert, &signed.key, &names).is_some(),
            may,
            "{listen} {public:?}"
        );
    }
}

#[test]
fn the_operators_own_files_are_not_touched() {
    let theirs = Authority::new().unwrap().sign(&names("127.0.0.1:1")).unwrap();
    for name in ["cert.pem", "key.pem", "ca.pem"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), &theirs.cert).unwrap();
        let error = open(folder.path(), &names("127.0.0.1:1")).err().unwrap();
        assert!(matches!(error, TlsError::Foreign { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn processes_that_start_together_share_one_authority() {
    let folder = tempfile::tempdir().unwrap();
    let opened = || open(folder.path(), &names("127.0.0.1:1")).unwrap().certified.cert[0].clone();
    let certs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(opened)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(certs.windows(2).all(|two| two[0] == two[1]));
}
