//! `sluice`: the daemon and its command line.

fn main() {
    eprintln!("not wired yet");
}
