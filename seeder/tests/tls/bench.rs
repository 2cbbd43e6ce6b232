//! A seeder with DNS over TLS, and certificates for it.

use std::{fs, net::SocketAddr, path::Path};

use hickory_proto::rr::Name;
use quantumcoin_seeder::{
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        times::Times,
    },
    follow::unix_now,
    tls::TlsOptions,
    wire::name::WireName,
};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::support::{Bench, bench_with};

pub(crate) const APEX: &str = "seed1.quantumcoin.network";

/// Whom the certificates are for.
pub(crate) const HOST: &str = "ns1.seed1.quantumcoin.network";

/// Puts a new certificate with this common name, and its key, where the options say: each file whole, as certbot does.
pub(crate) fn issue(options: &TlsOptions, name: &str, last_year: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    put(&options.certificate, &certificate.pem());
    put(&options.key, &key.serialize_pem());
}

pub(crate) fn put(path: &Path, text: &str) {
    let scratch = path.with_extension("new");
    fs::write(&scratch, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::rename(&scratch, path).unwrap();
}

pub(crate) fn options(dir: &Path) -> TlsOptions {
    TlsOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        certificate: dir.join("fullchain.pem"),
        key: dir.join("privkey.pem"),
    }
}

/// A seeder with DNS over TLS, whose first zone is signed.
pub(crate) struct Secure {
    pub(crate) bench: Bench,
    pub(crate) tls: SocketAddr,
    pub(crate) options: TlsOptions,
    _dir: TempDir,
}

pub(crate) async fn secure() -> Secure {
    secure_until(2400).await
}

/// With a certificate that is valid until the beginning of that year.
pub(crate) async fn secure_until(year: i32) -> Secure {
    let dir = TempDir::new().unwrap();
    let options = options(dir.path());
    issue(&options, "first", year);
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let apex = WireName::of(&Name::from_ascii(format!("{APEX}.")).unwrap());
    let times = Times::from_now(unix_now() - 10);
    let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times).unwrap();
    keyfile::write(&keys, &key).unwrap();
    let bench = bench_with(&["127.0.0.1:0"], |config| {
        config.keys = Some(keys);
        config.tls = Some(options.clone());
    })
    .await;
    Secure {
        tls: bench.tls.unwrap(),
        bench,
        options,
        _dir: dir,
    }
}
