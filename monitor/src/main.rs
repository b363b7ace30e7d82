//! `sluice`: the daemon and its command line.

fn main() -> std::process::ExitCode {
    monitor::cli::main()
}
