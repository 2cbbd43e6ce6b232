//! Where a request comes from, as far as a browser tells. Pure.
//!
//! Two attacks by web pages that the operator has open: a page whose name leads to this machine (DNS rebinding) would be the same
//! site as the API for the browser, so names that are not the API's are refused; and a page may send requests across sites, so
//! nothing is changed for one that names another origin. Neither has the token, but no door should depend on one lock.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names no host, or several.
    NoHost,
    /// It asks for a host that the API is not.
    OtherHost,
    /// It comes from a page of another site.
    CrossSite,
}

/// Whether the host that is asked for is the API: an address (a name is needed for rebinding), `localhost`, or one of `names`.
///
/// # Errors
/// With why not.
pub(super) fn check_host(headers: &HeaderMap, names: &[String]) -> Result<(), Refusal> {
    let host = only(headers, &header::HOST).ok_or(Refusal::NoHost)?;
    let name = without_port(host);
    let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let is_address = literal.unwrap_or(name).parse::<IpAddr>().is_ok();
    let name = name.trim_end_matches('.');
    let is_ours = name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|ours| name.eq_ignore_ascii_case(ours));
    if is_address || is_ours {
        Ok(())
    } else {
        Err(Refusal::OtherHost)
    }
}

/// Whether a request that would change something comes from no page, or from the API's own.
///
/// # Errors
/// With why not.
pub(super) fn check_same_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = only(headers, &header::HOST).ok_or(Refusal::NoHost)?;
    let ours = |origin: &str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    let origins = headers.get_all(header::ORIGIN).iter();
    let mut origins = origins.map(|origin| origin.to_str().unwrap_or_default());
    let mut sites = headers.get_all("sec-fetch-site").iter();
    let allowed = ["same-origin", "none"];
    let same = origins.all(ours)
        && sites.all(|site| site.to_str().is_ok_and(|site| allowed.contains(&site)));
    same.then_some(()).ok_or(Refusal::CrossSite)
}

/// The header's value, if it stands there once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn addresses_and_own_names_are_the_api_and_other_names_are_not() {
        let names = ["node.example.org".to_owned()];
        for host in [
            "127.0.0.1:8332",
            "127.0.0.1",
            "[::1]:8332",
            "[::1]",
            "192.0.2.7:80",
            "localhost:8332",
            "LocalHost",
            "localhost.:8332",
            "Node.Example.org:443",
        ] {
            let checked = check_host(&headers(&[("host", host)]), &names);
            assert_eq!(checked, Ok(()), "{host}");
        }
        for host in [
            "evil.example:8332",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8332",
            "node.example.org.evil.example",
            "xnode.example.org",
            "[::1",
            "127.0.0.1:8332@evil.example",
            "127.0.0.1:x",
            "2130706433",
        ] {
            let checked = check_host(&headers(&[("host", host)]), &names);
            assert_eq!(checked, Err(Refusal::OtherHost), "{host}");
        }
        let twice = headers(&[("host", "127.0.0.1"), ("host", "evil.example")]);
        assert_eq!(check_host(&twice, &names), Err(Refusal::NoHost));
        assert_eq!(check_host(&HeaderMap::new(), &names), Err(Refusal::NoHost));
    }

    #[test]
    fn pages_of_others_change_nothing() {
        let host = ("host", "127.0.0.1:8332");
        for same in [
            vec![host],
            vec![host, ("origin", "http://127.0.0.1:8332")],
            vec![host, ("sec-fetch-site", "same-origin")],
            vec![host, ("sec-fetch-site", "none")],
        ] {
            assert_eq!(check_same_site(&headers(&same)), Ok(()), "{same:?}");
        }
        for other in [
            vec![host, ("origin", "http://evil.example")],
            vec![host, ("origin", "http://127.0.0.1:8333")],
            vec![host, ("origin", "null")],
            vec![host, ("origin", "")],
            vec![
                host,
                ("origin", "http://127.0.0.1:8332"),
                ("origin", "http://evil.example"),
            ],
            vec![host, ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![
                host,
                ("origin", "http://127.0.0.1:8332"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            let checked = check_same_site(&headers(&other));
            assert_eq!(checked, Err(Refusal::CrossSite), "{other:?}");
        }
    }
}
