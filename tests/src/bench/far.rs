//! The two ends of a transfer in network namespaces of their own.

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use super::Place;
use crate::netlab::{Lab, Side};

/// A link as bad as one wants it.
pub struct Far(pub Lab);

impl Place for Far {
    fn within<T: Send>(&self, side: Side, f: impl FnOnce() -> T + Send) -> T {
        self.0.within(side, f)
    }

    fn addr(&self, side: Side) -> Ipv4Addr {
        self.0.addr(side)
    }

    /// Copied between the namespaces by this process, for one connection.
    fn lead_to(&self, port: u16) -> u16 {
        let local = Ipv4Addr::LOCALHOST;
        let far = self.within(Side::B, || TcpStream::connect((local, port)));
        let far = far.unwrap();
        let near = self.within(Side::A, || TcpListener::bind((local, 0)));
        let near = near.unwrap();
        let port = near.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let near = near.accept().unwrap().0;
            let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || copy(back.0, back.1));
            copy(near, far);
        });
        port
    }
}

/// Until one of them ends, which may be abrupt.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
