//! Where this machine's default gateway is, as the kernel tells it. Linux alone: elsewhere UPnP finds gateways by asking all.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The route leads over a gateway (`RTF_GATEWAY` of linux/route.h).
const RTF_GATEWAY: u32 = 0x2;

/// The gateway of the IPv4 default route; of several, the one with the least metric.
pub(super) fn default_v4() -> Option<Ipv4Addr> {
    v4(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// Number of the interface of the IPv6 default route.
pub(super) fn default_v6_interface() -> Option<u32> {
    let table = std::fs::read_to_string("/proc/net/ipv6_route").ok()?;
    let name = v6(&table)?;
    let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?;
    index.trim().parse().ok()
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

/// Lines of: destination, length, source, length, next hop, metric, references, uses, flags, interface; all hexadecimal.
fn v6(table: &str) -> Option<&str> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, hop, metric, .., name] = fields.as_slice() else {
            return None;
        };
        let destination = u128::from_str_radix(destination, 16).ok()?;
        let hop = Ipv6Addr::from(u128::from_str_radix(hop, 16).ok()?);
        let metric = u32::from_str_radix(metric, 16).ok()?;
        let is_default = destination == 0 && *length == "00" && !hop.is_unspecified();
        is_default.then_some((metric, *name))
    });
    routes.min().map(|(_, name)| name)
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
    fn the_ipv6_default_route_names_its_interface() {
        let zero = "0".repeat(32);
        let router = "fe80000000000000000000000000 0001".replace(' ', "");
        let table = format!(
            "fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
             {zero} 00 {zero} 00 {router} 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(v6(&table), Some("eth0"));
        assert_eq!(v6("junk"), None);
    }
}
