//! Gateways that are broken or mean it: what answers in the router's place where nodes look for UPnP, PCP and NAT-PMP.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::RngCore as _;

use super::world::Router;

/// Where PCP and NAT-PMP are asked for, where UPnP's devices are looked for, and where ours says that its description is.
const PCP: u16 = 5351;
const SSDP: u16 = 1900;
const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const HTTP: u16 = 5000;

/// How often a thread looks whether it is to end; the pace of the slow one, a byte each time.
const TICK: Duration = Duration::from_millis(200);

/// Largest packet of junk: more than PCP allows (1,100 bytes, RFC 6887), and no fragments.
const JUNK: usize = 1_400;

/// What junk over HTTP ends after, for who does not hang up before: a client with no limit would show it in its memory.
const MOST_HTTP_JUNK: usize = 512 << 20;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It answers all with junk.
    Garbage,
    /// It takes everything and answers nothing.
    Silent,
    /// It begins to answer, and does not come to an end.
    Slow,
}

impl Manner {
    pub(super) const ALL: [Self; 3] = [Self::Garbage, Self::Silent, Self::Slow];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Silent => "silent",
            Self::Slow => "slow",
        }
    }
}

/// A gateway of such a manner, in a router.
#[derive(Debug)]
pub(super) struct Hostile {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hostile {
    pub(super) fn start(router: &Router, manner: Manner) -> anyhow::Result<Self> {
        let own = router.inside(1);
        let sockets = router.host.space.within(|| -> std::io::Result<_> {
            let pcp = UdpSocket::bind((own, PCP))?;
            let ssdp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SSDP))?;
            ssdp.join_multicast_v4(&SSDP_GROUP, &own)?;
            let http = TcpListener::bind((own, HTTP))?;
            pcp.set_read_timeout(Some(TICK))?;
            ssdp.set_read_timeout(Some(TICK))?;
            http.set_nonblocking(true)?;
            Ok((pcp, ssdp, http))
        })?;
        let (pcp, ssdp, http) = sockets?;
        let stop = Arc::new(AtomicBool::new(false));
        let [first, second, third] = [(); 3].map(|()| Arc::clone(&stop));
        let threads = vec![
            std::thread::spawn(move || answer_pcp(&pcp, manner, &first)),
            std::thread::spawn(move || answer_ssdp(&ssdp, own, manner, &second)),
            std::thread::spawn(move || answer_http(&http, manner, &third)),
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// Junk of any length, half of it with a header that makes it look like an answer to what was asked.
fn answer_pcp(socket: &UdpSocket, manner: Manner, stop: &AtomicBool) {
    let mut question = [0; JUNK];
    while !stop.load(Ordering::Relaxed) {
        let Ok((read, from)) = socket.recv_from(&mut question) else {
            continue;
        };
        if manner != Manner::Garbage {
            continue;
        }
        for _ in 0..4 {
            let mut junk = junk();
            if rand::random() {
                let start = read.min(junk.len()).min(4);
                junk[..start].copy_from_slice(&question[..start]);
                if let Some(operation) = junk.get_mut(1) {
                    // An answer, by RFC 6887 and 6886.
                    *operation |= 0x80;
                }
            }
            // Who is gone does not miss it.
            let _ = socket.send_to(&junk, from);
        }
    }
}

fn answer_ssdp(socket: &UdpSocket, own: Ipv4Addr, manner: Manner, stop: &AtomicBool) {
    let mut question = [0; JUNK];
    while !stop.load(Ordering::Relaxed) {
        let Ok((_, from)) = socket.recv_from(&mut question) else {
            continue;
        };
        if manner == Manner::Silent {
            continue;
        }
        if manner == Manner::Garbage {
            // Who is gone does not miss it.
            let _ = socket.send_to(&junk(), from);
        }
        let found = format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n\
             ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             USN: uuid:0::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             LOCATION: http://{own}:{HTTP}/root.xml\r\nEXT:\r\n\r\n"
        );
        let _ = socket.send_to(found.as_bytes(), from);
    }
}

fn answer_http(listener: &TcpListener, manner: Manner, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    scope.spawn(move || serve(stream, manner, stop));
                }
                // Nobody is there, or he has gone again.
                Err(_) => std::thread::sleep(TICK),
            }
        }
    });
}

/// Answers one visitor in this manner until it hangs up.
fn serve(mut stream: TcpStream, manner: Manner, stop: &AtomicBool) {
    // Any of this fails when the visitor has gone, and then there is nothing to do.
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(TICK));
    let _ = stream.set_write_timeout(Some(TICK));
    let _ = stream.read(&mut [0; JUNK]);
    let mut sent = 0;
    let head: &[u8] = match manner {
        Manner::Silent => b"",
        Manner::Garbage | Manner::Slow => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<?xml version=\"1.0\"?><root>"
        }
    };
    if stream.write_all(head).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) && sent < MOST_HTTP_JUNK {
        let written = match manner {
            Manner::Garbage => stream.write(&junk()),
            Manner::Slow => {
                std::thread::sleep(TICK);
                stream.write(b" ")
            }
            Manner::Silent => {
                std::thread::sleep(TICK);
                Ok(0)
            }
        };
        match written {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn junk() -> Vec<u8> {
    let mut junk = vec![0; rand::random_range(0..JUNK)];
    rand::rng().fill_bytes(&mut junk);
    junk
}
