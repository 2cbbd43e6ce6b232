use std::fs;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// A certificate that is valid from 100 to 1100, with its key, in files that the options name.
fn issued() -> (TempDir, TlsOptions) {
    let dir = TempDir::new().unwrap();
    let options = TlsOptions {
        listen: vec!["127.0.0.1:853".parse().unwrap()],
        certificate: dir.path().join("fullchain.pem"),
        key: dir.path().join("privkey.pem"),
    };
    let at = |second| time::OffsetDateTime::from_unix_timestamp(second).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["ns1.seed.test".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (at(100), at(1100));
    let certificate = params.self_signed(&key).unwrap();
    fs::write(&options.certificate, certificate.pem()).unwrap();
    fs::write(&options.key, key.serialize_pem()).unwrap();
    mode(&options, 0o600);
    (dir, options)
}

fn mode(options: &TlsOptions, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&options.key, fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (options, mode);
}

fn judged(options: &TlsOptions, now: i64) -> Finding {
    let loaded = Certificate::load(options).map(|certificate| certificate.validity);
    files(options, &loaded, false, now)
}

#[test]
fn files_are_judged_as_run_judges_them() {
    let (_dir, options) = issued();
    let levels = [150, 1050, 99, 1101].map(|now| judged(&options, now).level);
    let wanted = [Level::Ok, Level::Warning, Level::Error, Level::Error];
    assert_eq!(levels, wanted);
    assert!(judged(&options, 1101).found.contains("has expired"));

    #[cfg(unix)]
    {
        mode(&options, 0o644);
        let open = judged(&options, 150);
        assert!(
            open.level == Level::Error && open.found.contains("mode 644"),
            "{open:?}"
        );
    }
    fs::remove_file(&options.certificate).unwrap();
    let missing = judged(&options, 150);
    assert!(
        missing.level == Level::Error && missing.found.contains("fullchain.pem"),
        "{missing:?}"
    );
}

#[test]
fn files_that_this_user_may_not_read_are_no_error() {
    let (_dir, options) = issued();
    for (at_work, level) in [(true, Level::Note), (false, Level::Warning)] {
        let mut denied = Certificate::load(&TlsOptions {
            key: "/none".into(),
            ..options.clone()
        })
        .unwrap_err();
        denied.fault = Fault::Io(io::ErrorKind::PermissionDenied.into());
        assert_eq!(files(&options, &Err(denied), at_work, 150).level, level);
    }
}

#[test]
fn an_empty_list_of_addresses_is_an_error() {
    let (_dir, mut options) = issued();
    options.listen.clear();
    let facts = Facts {
        files: Certificate::load(&options).map(|certificate| certificate.validity),
        own: None,
        shown: Vec::new(),
    };
    let told = judge(&options, &facts, false, |_| false, 150);
    assert!(
        told[1].level == Level::Error && told[1].found.contains("listen in [tls] is empty"),
        "{told:?}"
    );
}

#[test]
fn handshakes_are_compared_with_the_file() {
    let addr: SocketAddr = "127.0.0.1:853".parse().unwrap();
    let own = vec![1, 2, 3];
    let level = |certificate: Result<Vec<u8>, String>, held: bool| {
        let shown = Shown { addr, certificate };
        handshake(&shown, Some(&own), |_| held).map(|found| found.level)
    };
    assert_eq!(level(Ok(own.clone()), false), Some(Level::Ok));
    assert_eq!(level(Ok(vec![4]), false), Some(Level::Warning));
    let closed = || Err("connection refused".to_owned());
    assert_eq!(level(closed(), false), None);
    assert_eq!(level(closed(), true), Some(Level::Warning));
    let facts = Facts {
        files: Ok(Validity { from: 0, until: 1 }),
        own: Some(own.clone()),
        shown: vec![Shown {
            addr,
            certificate: Ok(own.clone()),
        }],
    };
    assert_eq!(facts.answering().collect::<Vec<_>>(), [addr]);
}

/// A real server with the two files.
#[tokio::test]
async fn a_handshake_shows_the_servers_certificate() {
    let (_dir, mut options) = issued();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    options.listen = vec![listener.local_addr().unwrap()];
    let server = Arc::new(Certificate::load(&options).unwrap().config);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&server));
            let _ = acceptor.accept(stream).await;
        }
    });
    let facts = look(&options).await;
    assert!(
        facts.answering().eq(options.listen.iter().copied()),
        "{facts:?}"
    );
    // Renewed, and not yet taken up.
    let (_dir, other) = issued();
    let facts = look(&TlsOptions {
        listen: options.listen.clone(),
        ..other
    })
    .await;
    assert_eq!(facts.answering().count(), 0);
    let told = judge(&options, &facts, true, |_| true, 150);
    assert!(told[1].found.contains("another certificate"), "{told:?}");
}
