//! Names of known peers of overlay networks, by their stand-ins. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use quantumcoin::reachability::overlay::{OverlayName, PeerAddress, is_stand_in};

/// Names of the peers that the frontier holds, and no others.
#[derive(Debug, Default)]
pub struct Names {
    /// With the number of ports at which a name is known.
    by_stand_in: HashMap<IpAddr, (OverlayName, usize)>,
}

impl Names {
    /// One more port of a name.
    pub fn hold(&mut self, name: OverlayName) {
        let ip = IpAddr::V6(name.stand_in());
        self.by_stand_in.entry(ip).or_insert((name, 0)).1 += 1;
    }

    /// One port less of whatever stands there.
    pub fn release(&mut self, ip: IpAddr) {
        if let Some((_, ports)) = self.by_stand_in.get_mut(&ip) {
            *ports = ports.saturating_sub(1);
            if *ports == 0 {
                self.by_stand_in.remove(&ip);
            }
        }
    }

    /// Where a peer is; `None` of a stand-in whose name is not known.
    pub fn address(&self, addr: SocketAddr) -> Option<PeerAddress> {
        if !is_stand_in(addr.ip()) {
            return Some(PeerAddress::Socket(addr));
        }
        let (name, _) = self.by_stand_in.get(&addr.ip())?;
        Some(PeerAddress::Named(*name, addr.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_as_long_as_one_of_its_ports_is_known() {
        let name = OverlayName::Onion([7; 32]);
        let key = PeerAddress::Named(name, 8333).key();
        let mut names = Names::default();
        assert_eq!(names.address(key), None);
        names.hold(name);
        names.hold(name);
        names.release(key.ip());
        assert_eq!(names.address(key), Some(PeerAddress::Named(name, 8333)));
        names.release(key.ip());
        names.release(key.ip());
        assert_eq!(names.address(key), None);
        let socket = "1.2.3.4:5".parse().unwrap();
        assert_eq!(names.address(socket), Some(PeerAddress::Socket(socket)));
    }
}
