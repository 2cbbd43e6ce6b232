//! Which files are taken, and what is said of the others.

use std::fs;

use rcgen::{
    CertificateParams, Issuer, KeyPair, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
    date_time_ymd,
};
use tempfile::TempDir;

use super::*;

/// A directory with a certificate and its key.
struct Files {
    dir: TempDir,
    options: TlsOptions,
}

impl Files {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let options = TlsOptions {
            listen: Vec::new(),
            certificate: dir.path().join("fullchain.pem"),
            key: dir.path().join("privkey.pem"),
        };
        let files = Self { dir, options };
        let (certificate, key) = issue();
        files.write(&certificate, &key);
        files
    }

    fn write(&self, certificate: &str, key: &str) {
        fs::write(&self.options.certificate, certificate).unwrap();
        self.write_key(key);
    }

    fn write_key(&self, key: &str) {
        fs::write(&self.options.key, key).unwrap();
        mode(&self.options.key, 0o600);
    }

    /// What is said when they can't be used.
    fn words(&self) -> String {
        Certificate::load(&self.options).unwrap_err().to_string()
    }
}

fn mode(path: &Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
}

fn issue() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["ns1.seed.test".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 4, 1);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_pair_is_taken_with_its_times() {
    let files = Files::new();
    let taken = Certificate::load(&files.options).unwrap();
    let Validity { from, until } = taken.validity;
    assert_eq!(
        (date(from), date(until)),
        (
            "2026-01-01 00:00 UTC".to_owned(),
            "2026-04-01 00:00 UTC".to_owned()
        )
    );
    assert_eq!(until - from, 90 * 86_400);
    assert_eq!(taken.config.alpn_protocols, [b"dot"]);
    assert_eq!(taken.stamp, Stamp::of(&files.options));
    // A chain: what comes after the first may be of any key.
    let (other, _) = issue();
    let own = fs::read_to_string(&files.options.certificate).unwrap();
    fs::write(&files.options.certificate, format!("{own}{other}")).unwrap();
    Certificate::load(&files.options).unwrap();
    fs::write(&files.options.certificate, format!("{other}{own}")).unwrap();
    assert!(
        files
            .words()
            .contains("the server's own certificate must come first")
    );
}

#[test]
fn what_is_wrong_is_said_with_the_file_and_the_remedy() {
    let files = Files::new();
    let (certificate, key) = issue();
    let (_, foreign) = issue();
    let short = &key[..key.len() / 2];
    let broken = certificate.replace("BEGIN CERTIFICATE-----\n", "BEGIN CERTIFICATE-----\n%%%");
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let locked = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let long = format!("{certificate}{}", "# a comment\n".repeat(MAX_FILE / 10));
    for (first, second, file, words) in [
        (&*long, &*key, "fullchain.pem", "more than 256 KiB"),
        (&certificate, &long, "privkey.pem", "more than 256 KiB"),
        ("", &*key, "fullchain.pem", "holds no certificate in PEM"),
        (&*key, &key, "fullchain.pem", "name the file with the chain"),
        (&broken, &key, "fullchain.pem", "is damaged"),
        (empty, &key, "fullchain.pem", "can't be understood"),
        (
            &certificate,
            "",
            "privkey.pem",
            "holds no private key in PEM",
        ),
        (
            &certificate,
            &certificate,
            "privkey.pem",
            "name the file with the key",
        ),
        (&certificate, short, "privkey.pem", "is damaged"),
        (&certificate, no_key, "privkey.pem", "use ECDSA with P-256"),
        (&certificate, &locked, "privkey.pem", "openssl pkey"),
        (
            &certificate,
            &foreign,
            "privkey.pem",
            "does not belong to the first certificate in",
        ),
    ] {
        files.write(first, second);
        let said = files.words();
        assert!(said.contains(file) && said.contains(words), "{said}");
    }
    files.write(&certificate, &key);
    Certificate::load(&files.options).unwrap();
}

/// A public key of RSA with a modulus of that many bytes.
struct Rsa(Vec<u8>);

impl Rsa {
    fn new(bytes: u16) -> Self {
        // A sequence of two integers; the first has a zero in front, or it would be negative.
        let [high, low] = (bytes + 1).to_be_bytes();
        let mut inner = vec![2, 0x82, high, low, 0];
        inner.extend(vec![0xff; bytes.into()]);
        inner.extend([2, 3, 1, 0, 1]);
        let [high, low] = u16::try_from(inner.len()).unwrap().to_be_bytes();
        Self([vec![0x30, 0x82, high, low], inner].concat())
    }
}

impl PublicKeyData for Rsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

#[test]
fn a_key_that_takes_too_long_is_refused() {
    let files = Files::new();
    let (_, key) = issue();
    let authority = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let said = |bytes| {
        let params = CertificateParams::new(vec!["ns1.seed.test".to_owned()]).unwrap();
        let certificate = params.signed_by(&Rsa::new(bytes), &authority).unwrap();
        files.write(&certificate.pem(), &key);
        files.words()
    };
    let long = said(513);
    assert!(long.starts_with("the certificate of [tls]"), "{long}");
    assert!(long.contains("an RSA key of 4104 bits"), "{long}");
    let longest = said(512);
    assert!(
        longest.contains("does not belong to"),
        "its own key would do: {longest}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let files = Files::new();
    fs::remove_file(&files.options.key).unwrap();
    let said = files.words();
    assert!(said.starts_with("the key of [tls]"), "{said}");
    assert!(
        said.contains("privkey.pem, can't be read") && said.contains("is the path right?"),
        "{said}"
    );
    fs::remove_file(&files.options.certificate).unwrap();
    assert!(files.words().starts_with("the certificate of [tls]"));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused() {
    let files = Files::new();
    mode(&files.options.key, 0o640);
    Certificate::load(&files.options).expect("the group may");
    mode(&files.options.key, 0o644);
    let said = files.words();
    assert!(
        said.contains("mode 644") && said.contains("chmod o-rwx"),
        "{said}"
    );
}

#[test]
fn another_version_of_either_file_has_another_stamp() {
    let files = Files::new();
    let stamp = || Stamp::of(&files.options);
    let first = stamp();
    assert_eq!(first, stamp());
    let later = SystemTime::now() + std::time::Duration::from_secs(3);
    for path in [&files.options.certificate, &files.options.key] {
        let before = stamp();
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(later).unwrap();
        assert_ne!(before, stamp());
    }
    fs::remove_file(&files.options.key).unwrap();
    let without = stamp();
    assert_ne!(first, without);
    drop(files.dir);
}

/// A renewal by `cp -p` of files that were made in one second.
#[cfg(unix)]
#[test]
fn another_file_of_the_same_time_and_length_has_another_stamp() {
    let files = Files::new();
    let path = &files.options.certificate;
    let first = Stamp::of(&files.options);
    let metadata = fs::metadata(path).unwrap();
    let other = files.dir.path().join("other");
    fs::write(&other, vec![b'#'; metadata.len().try_into().unwrap()]).unwrap();
    let file = File::options().append(true).open(&other).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    fs::rename(&other, path).unwrap();
    let now = fs::metadata(path).unwrap();
    assert_eq!(
        (now.modified().unwrap(), now.len()),
        (metadata.modified().unwrap(), metadata.len())
    );
    assert_ne!(first, Stamp::of(&files.options));
}

#[test]
fn an_operator_is_told_in_time() {
    const DAY: i64 = 86_400;
    let validity = Validity {
        from: 100 * DAY,
        until: 190 * DAY,
    };
    let said = |day: i64| validity.complaint(day * DAY).unwrap_or_default();
    assert!(said(99).contains("is the clock right?"));
    for day in [100, 150, 181] {
        assert_eq!(said(day), "", "{day}");
    }
    for day in [182, 190] {
        assert!(said(day).contains("is it being renewed?"), "{day}");
    }
    assert_eq!(
        said(191),
        "the certificate has expired on 1970-07-10 00:00 UTC; renew it"
    );
}

#[test]
fn the_table_has_defaults_and_no_unknown_keys() {
    let read = |text: &str| toml::from_str::<TlsOptions>(text);
    let options = read("certificate = \"/a\"\nkey = \"/b\"").unwrap();
    assert_eq!(
        options.listen,
        ["0.0.0.0:853", "[::]:853"].map(|addr| addr.parse().unwrap())
    );
    assert!(
        read("certificate = \"/a\"")
            .unwrap_err()
            .to_string()
            .contains("`key`")
    );
    let error = read("certificate = \"/a\"\nkey = \"/b\"\nport = 1").unwrap_err();
    assert!(error.to_string().contains("`port`"));
}
