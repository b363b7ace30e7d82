//! When a server that a test started may be asked: once its socket stands in the kernel's list.
//!
//! In: a process, the namespace of its socket and a port. Out: the same process once it listens there, or an error with
//! what it said. Nothing is sent, so a server sees no connection that is not the test's.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::network::{Process, Space};

/// A server starts in milliseconds; a machine that is busy may take a thousand times as long.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Where a server listens, over IPv4, IPv6 or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Tcp(u16),
    Udp(u16),
}

impl Port {
    /// The kernel's lists of sockets, and the state of one that waits for whoever comes.
    fn lists(self) -> ([&'static str; 2], &'static str, u16) {
        match self {
            Self::Tcp(port) => (["tcp", "tcp6"], "0A", port),
            Self::Udp(port) => (["udp", "udp6"], "07", port),
        }
    }

    /// Whether somebody listens in the namespace of this thread.
    fn is_open(self) -> bool {
        let (lists, waiting, port) = self.lists();
        lists.iter().any(|list| {
            // A kernel without IPv6 has no such list.
            let list = fs::read_to_string(format!("/proc/thread-self/net/{list}")).unwrap_or_default();
            list.lines().skip(1).any(|socket| listens(socket, waiting, port))
        })
    }
}

/// Reads a line as in `0: 0100007F:1451 00000000:0000 0A ...`: local end, other end, state.
fn listens(socket: &str, waiting: &str, port: u16) -> bool {
    let mut fields = socket.split_whitespace().skip(1);
    let local = fields.next().and_then(|local| local.rsplit_once(':'));
    let local = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    local == Some(port) && fields.nth(1) == Some(waiting)
}

impl Space {
    /// Starts a server and waits until it listens on `port`.
    pub fn serve(&self, program: &str, arguments: &[&str], port: Port) -> Result<Process> {
        ensure!(!self.is_open(port)?, "{program}: {port:?} is taken already");
        self.start(program, arguments)?.listening(self, port)
    }

    fn is_open(&self, port: Port) -> Result<bool> {
        self.enter(move || port.is_open())?.join().ok().context("the thread that looks for a socket died")
    }
}

impl Process {
    /// Waits until somebody listens on `port` within `space`; an error when this process ended or took too long.
    pub fn listening(mut self, space: &Space, port: Port) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        while !space.is_open(port)? {
            if !self.runs() {
                let output = self.wait(PAUSE)?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!("the server ended before it listened on {port:?} ({}): {}", output.status, said.trim());
            }
            ensure!(Instant::now() < end, "the server does not listen on {port:?} within {PATIENCE:?}");
            thread::sleep(PAUSE);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::{Port, listens};

    #[test]
    fn a_line_of_the_kernels_list_is_read_by_local_port_and_state() {
        let line = "   0: 0100007F:1451 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1234";
        assert!(listens(line, "0A", 5201));
        assert!(!listens(line, "0A", 5202));
        assert!(!listens(&line.replace(" 0A ", " 01 "), "0A", 5201));
        assert!(!listens("", "0A", 5201));
    }

    #[test]
    fn who_listens_is_seen_and_who_is_connected_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(Port::Tcp(address.port()).is_open());
        let stream = TcpStream::connect(address).unwrap();
        assert!(!Port::Tcp(stream.local_addr().unwrap().port()).is_open());
        let socket = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).unwrap();
        assert!(Port::Udp(socket.local_addr().unwrap().port()).is_open());
    }
}
