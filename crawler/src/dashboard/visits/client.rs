//! Who a request comes from. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// The client of a request that came from `peer` with these lines of `X-Forwarded-For`, joined by commas: the last of those named that is no trusted
/// proxy, as far as trusted ones tell.
pub(super) fn client(peer: IpAddr, forwarded: &str, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    let named = forwarded.rsplit(',');
    for name in named.map(str::trim) {
        if !is_trusted(&client) {
            break;
        }
        match name.parse::<IpAddr>() {
            Ok(ip) => client = ip.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let proxies: Vec<IpNet> = vec![
            "127.0.0.0/8".parse().unwrap(),
            "10.0.0.1/32".parse().unwrap(),
        ];
        let of =
            |peer, forwarded, trusted: &[IpNet]| client(ip(peer), forwarded, trusted).to_string();
        let chain = "6.6.6.6, 192.0.2.7, 10.0.0.1";
        assert_eq!(of("127.0.0.1", chain, &proxies), "192.0.2.7");
        assert_eq!(of("127.0.0.1", chain, &[]), "127.0.0.1");
        assert_eq!(of("::ffff:127.0.0.1", chain, &proxies), "192.0.2.7");
        assert_eq!(of("192.0.2.9", chain, &proxies), "192.0.2.9");
        assert_eq!(of("127.0.0.1", "x, ", &proxies), "127.0.0.1");
        assert_eq!(of("127.0.0.1", "", &proxies), "127.0.0.1");
    }
}
