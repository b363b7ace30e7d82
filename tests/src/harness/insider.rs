//! What an insider does on the wire where no tool of the distribution does it: logins, names that carry data, requests on
//! a timer. Everything is bounded in count and runs within a namespace of the test.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::network::{Space, sweep, unique};

const WAIT: Duration = Duration::from_millis(500);

/// A service on a thread; dropping it ends it.
#[derive(Debug)]
pub struct Serving {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Serving {
    fn start(
        space: &Space,
        bind: impl FnOnce() -> io::Result<Box<dyn FnMut()>> + Send + 'static,
    ) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (told, hear) = std::sync::mpsc::channel();
        let flag = Arc::clone(&over);
        let thread = space.enter(move || match bind() {
            Ok(mut serve) => {
                let _ = told.send(Ok(()));
                while !flag.load(Ordering::Relaxed) {
                    serve();
                }
            }
            Err(error) => drop(told.send(Err(error))),
        })?;
        hear.recv().context("the service did not start")?.context("listen")?;
        Ok(Self { over, thread: Some(thread) })
    }

    /// Answers every datagram with `answer` bytes, as a resolver does.
    pub fn datagrams(space: &Space, address: SocketAddr, answer: usize) -> Result<Self> {
        Self::start(space, move || {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(WAIT / 10))?;
            let (mut asked, answer) = ([0; 2048], vec![b'a'; answer]);
            Ok(Box::new(move || {
                if let Ok((_, from)) = socket.recv_from(&mut asked) {
                    let _ = socket.send_to(&answer, from);
                }
            }))
        })
    }

    /// Greets, hears a password out and says no, as a login service does.
    pub fn logins(space: &Space, address: SocketAddr) -> Result<Self> {
        Self::start(space, move || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Box::new(move || match listener.accept() {
                Ok((mut stream, _)) => drop(thread::spawn(move || -> io::Result<()> {
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(WAIT))?;
                    stream.write_all(b"SSH-2.0-Test\r\n")?;
                    let mut said = [0; 512];
                    let _ = stream.read(&mut said)?;
                    stream.write_all(&[b'n'; 60])
                })),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }))
        })
    }
}

/// Logs in `count` times, each over a connection of its own, `pause` apart; how many were heard out.
pub fn log_in(
    space: &Space,
    from: SocketAddr,
    to: SocketAddr,
    count: usize,
    pause: Duration,
) -> Result<JoinHandle<usize>> {
    space.enter(move || {
        (0..count)
            .filter(|number| {
                thread::sleep(pause);
                let tried = || -> io::Result<()> {
                    let mut stream = connect(from, to)?;
                    stream.set_read_timeout(Some(WAIT))?;
                    let mut said = [0; 512];
                    let _ = stream.read(&mut said)?;
                    stream.write_all(format!("password-{number:06}\n").repeat(8).as_bytes())?;
                    let _ = stream.read(&mut said)?;
                    Ok(())
                };
                tried().is_ok()
            })
            .count()
    })
}

/// A connection from one of several addresses of this host; the standard library cannot choose.
fn connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &from)?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// Sends datagrams of these sizes, one after the other, and hears the answers.
pub fn ask(
    space: &Space,
    from: SocketAddr,
    to: SocketAddr,
    sizes: Vec<usize>,
    pause: Duration,
) -> Result<JoinHandle<usize>> {
    space.enter(move || {
        let asked = || -> io::Result<usize> {
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(WAIT))?;
            let mut answer = [0; 2048];
            let mut heard = 0;
            for size in sizes {
                socket.send(&vec![b'q'; size])?;
                heard += usize::from(socket.recv(&mut answer).is_ok());
                thread::sleep(pause);
            }
            Ok(heard)
        };
        asked().unwrap_or(0)
    })
}

/// A cgroup of its own, gone when dropped.
#[derive(Debug)]
pub struct Cgroup {
    parent: PathBuf,
    path: PathBuf,
}

const CGROUPS: &str = "slcg";

impl Cgroup {
    /// Makes a cgroup that ends in `name`, or says what this machine lacks.
    pub fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let fields = line.split(' ').collect::<Vec<_>>();
            (fields.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(fields[1]))
        });
        let root = root.context("no cgroup tree of version 2 is mounted")?;
        sweep(&root, CGROUPS, |_, path| remove(path));
        let parent = root.join(unique(CGROUPS));
        let path = parent.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self { parent, path })
    }

    /// The same command within the cgroup.
    pub fn put(&self, command: &Command) -> Command {
        let mut moved = Command::new("sh");
        moved.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(self.path.join("cgroup.procs"));
        moved.arg(command.get_program()).args(command.get_args());
        moved
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes were told to end; the kernel needs a moment.
        for _ in 0..100 {
            remove(&self.parent);
            if !self.parent.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes a cgroup with those below it; nothing happens while a process is in one.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
