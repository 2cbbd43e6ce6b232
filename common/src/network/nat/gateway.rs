//! Where this machine's default gateway is, and on which interface an address, as the kernel tells it. Linux alone: elsewhere
//! UPnP finds gateways by asking all.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The route leads over a gateway (`RTF_GATEWAY` of linux/route.h).
const RTF_GATEWAY: u32 = 0x2;

/// The gateway of the IPv4 default route; of several, the one with the least metric.
pub(super) fn default_v4() -> Option<Ipv4Addr> {
    v4(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// Number of the interface that has this address.
pub(super) fn interface_of(ip: Ipv6Addr) -> Option<u32> {
    interface(&std::fs::read_to_string("/proc/net/if_inet6").ok()?, ip)
}

/// Lines of: interface, destination, gateway, flags, references, uses, metric, mask; hexadecimal but for the metric.
fn v4(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let mut hex = || u32::from_str_radix(fields.next()?, 16).ok();
        let (destination, gateway, flags) = (hex()?, hex()?, hex()?);
        let metric: u32 = fields.nth(2)?.parse().ok()?;
        let mask = u32::from_str_radix(fields.next()?, 16).ok()?;
        let is_default = destination == 0 && mask == 0 && flags & RTF_GATEWAY != 0;
        // The kernel prints the four bytes as a number of the machine's own order.
        is_default.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    routes.min().map(|(_, gateway)| gateway)
}

/// Lines of: address, number of the interface, prefix length, scope, flags, name; hexadecimal but for the name.
fn interface(table: &str, ip: Ipv6Addr) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let number = u32::from_str_radix(fields.next()?, 16).ok()?;
        (Ipv6Addr::from(address) == ip).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(ip: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(ip))
    }

    #[test]
    fn the_default_route_of_least_metric_leads_to_the_gateway() {
        let head =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let line = |name: &str, gateway, metric, mask: [u8; 4]| {
            let (gateway, mask) = (number(gateway), number(mask));
            format!("{name}\t00000000\t{gateway}\t0003\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let table = [
            head,
            &line("wlan0", [10, 0, 0, 1], 600, [0; 4]),
            &line("eth0", [192, 168, 1, 1], 100, [0; 4]),
            &line("eth1", [192, 168, 9, 9], 1, [128, 0, 0, 0]),
            "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
            "junk\n",
        ];
        assert_eq!(v4(&table.concat()), Some([192, 168, 1, 1].into()));
        assert_eq!(v4(head), None);
        assert_eq!(v4(""), None);
    }

    #[test]
    fn an_ipv6_address_tells_its_interface() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe800000000000000000000000000001 1f 40 20 80     eth0\n\
                     26000000000000000000000000000009 1f 40 00 80     eth0\n\
                     junk\n";
        let of = |text: &str| interface(table, text.parse().unwrap());
        assert_eq!(of("2600::9"), Some(0x1f));
        assert_eq!(of("::1"), Some(1));
        assert_eq!(of("2600::8"), None);
    }
}
