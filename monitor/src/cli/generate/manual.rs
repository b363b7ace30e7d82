//! The manual pages: section 1 for each command, 8 for the daemon, 5 for the file.
//!
//! In: the grammar, the exit codes, the embedded default configuration. Out: pages in roff with EXAMPLES, EXIT STATUS and
//! FILES. Every example is a command line that the grammar accepts; a test parses them all.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::super::{Exit, grammar};
use policy::config::Config;

/// The command whose page is in section 8.
const DAEMON: &str = "sluice run";
const MANUAL: &str = "sluice manual";

/// A command line, and what it does.
type Example = (&'static str, &'static str);

const EXAMPLES: &[Example] = &[
    ("sluice status", "Show what is guarded, what is dropped and what is wrong."),
    ("sluice setup", "Print services that observe what listens here."),
    ("sluice setup -o json", "The same as a JSON document."),
    ("sluice sources --by drops", "List the sources that lose most packets."),
    ("sluice run --config /etc/sluice/sluice.toml", "Run the daemon in the foreground."),
    ("sluice run --interface eth0 --watch-only", "Guard one interface and drop nothing, whatever the limits say."),
    ("sluice status -o json", "The same as a JSON document for scripts."),
    ("sluice top --by drops", "Watch live who is dropped; `?` lists the keys."),
    ("sluice top --pages 1 --number 20", "Print the state and the 20 fastest sources once."),
    ("sluice sources --service web --prefix 10.0.0.0/8", "List the sources of one network at one service."),
    ("sluice explain 198.51.100.9", "Say which rule, limit or ban decides about an address; a prefix, a service or a host name will do."),
    ("sluice limit list", "List every limit that is in force."),
    (
        "sluice limit set web --packets 2k/s --mode enforce --confirm-within 60s",
        "Enforce a limit, and take it back in a minute unless it is confirmed.",
    ),
    ("sluice limit set web --connections 100/s --save", "Change a limit and keep the change over restarts."),
    ("sluice limit unset web", "Return to the limit of the configuration."),
    ("sluice access list", "List exemptions, denials and bans."),
    ("sluice access exempt 192.0.2.7 --reason monitoring --save", "Never drop an address."),
    ("sluice access deny 203.0.113.0/24", "Drop whatever a network sends."),
    ("sluice access ban 198.51.100.9 --for 10m", "Drop a source for ten minutes."),
    ("sluice access unexempt 192.0.2.7", "Take an exemption back."),
    ("sluice access undeny 203.0.113.0/24", "Take a denial back."),
    ("sluice access unban 198.51.100.9", "Take a ban back."),
    ("sluice access import list.txt --dry-run", "Say what a list of prefixes would deny."),
    ("sluice contain 10.0.0.9 --for 1h", "Cut a machine off for an hour."),
    ("sluice contain copy.service --packets 100/s", "Hold a workload to a rate."),
    ("sluice contain 10.0.0.9 --lift", "Lift a containment."),
    ("sluice alerts list --open", "List the findings that are open."),
    ("sluice alerts show 12", "Show one finding with its evidence."),
    ("sluice alerts follow", "Print findings as they are raised, grow and end."),
    ("sluice alerts silence --subject 10.0.0.9 --for 4h --reason backup", "Keep findings about one machine quiet for a while."),
    ("sluice alerts silences", "List the silences with their author and end."),
    ("sluice alerts unsilence 1", "Lift a silence."),
    ("sluice alerts close 12", "Close a finding."),
    ("sluice flows --outcome refused", "List the conversations that the other end refused."),
    ("sluice flows --encryption clear", "List the conversations that anybody on the way can read."),
    ("sluice graph --dot", "Write who talks to whom in the language of Graphviz."),
    ("sluice posture", "Show what each service speaks and how much of it is encrypted."),
    ("sluice posture --csv", "The same for a spreadsheet."),
    ("sluice replay day.pcap --config candidate.toml", "Say what a configuration would have dropped."),
    ("sluice capture", "Print the frames that are dropped or would be, each with the reason, for a minute."),
    (
        "sluice capture --write drops.pcapng --source 198.51.100.0/24 --for 5m",
        "Write those of one network into a file for Wireshark.",
    ),
    ("sluice capture --write - --finding 12 --snap 1500", "Write whole frames of a finding's subject to another program."),
    ("sluice tune show --service web", "Show the proposed limits of a service with their evidence."),
    ("sluice tune try web", "Count what a proposal would drop."),
    ("sluice tune end web", "End the trial."),
    ("sluice tune apply web --confirm-within 60s", "Put the proposal in force, with a way back."),
    ("sluice tune forget web", "Forget what was learned of a service."),
    ("sluice confirm", "Keep the change that waits."),
    ("sluice confirm 12", "Keep the change of this number."),
    ("sluice history", "List the changes, newest first."),
    ("sluice history 12", "Show one change with what was before and after."),
    ("sluice audit --since 1d", "List who changed or tried what since yesterday."),
    ("sluice audit list -n 100 -o json", "The newest 100 entries for programs."),
    ("sluice audit verify", "Check that no entry was changed or removed."),
    ("sluice audit verify --directory /var/lib/sluice", "The same without a daemon."),
    ("sluice backup sluice-backup.db", "Write saved changes, history, findings and what was learned to a file."),
    ("sluice backup --force sluice-backup.db", "The same over the file of before."),
    ("sluice backup -", "The same to standard output."),
    ("sluice backup --directory /var/lib/sluice sluice-backup.db", "The same without a daemon."),
    ("sluice restore sluice-backup.db", "Without a daemon: put a backup in the place of its store."),
    ("sluice restore --yes --directory /var/lib/sluice sluice-backup.db", "The same without a question."),
    ("sluice revert 12", "Undo one change."),
    ("sluice reload", "Read the configuration file again."),
    ("sluice reload --confirm-within 60s", "The same, and back to the one before unless it is confirmed."),
    ("sluice config check /etc/sluice/sluice.toml", "Say whether a file is valid."),
    ("sluice config check --config candidate.toml", "The same, written as for `sluice run`."),
    ("sluice config show", "Show the configuration that is in force."),
    ("sluice config default", "Print a file with every key and its default."),
    ("sluice doctor", "Say what the kernel, the interfaces or the daemon lack, with the command that helps."),
    ("sluice doctor -o json", "The same as a JSON document; the exit code is that of the worst state."),
    ("sluice panic on --yes", "Let everything pass at once, whatever the rules say."),
    ("sluice panic off", "Let the rules hold again."),
    ("sluice stop", "End the daemon; its limits stay in force."),
    ("sluice detach", "Remove programs, maps and pins, and end the daemon."),
    ("sluice detach --config /etc/sluice/sluice.toml", "Without a daemon: remove what it left."),
    ("sluice detach --pin-directory /sys/fs/bpf/sluice", "The same, for a directory that is named."),
];

/// What is on a host, and what it holds.
const FILES: [(&str, &str); 6] = [
    ("/etc/sluice/sluice.toml", "The configuration, sluice.toml(5). Without it the daemon observes and drops nothing."),
    ("/run/sluice/control.sock", "The control socket."),
    ("/var/lib/sluice/sluice.db", "Saved changes, the history, findings, and what was learned."),
    ("/var/lib/sluice/alerts.jsonl", "Findings, as JSON lines."),
    ("/sys/fs/bpf/sluice", "Pinned programs, maps and links, which stay when the daemon ends."),
    ("/usr/share/doc/sluice/examples", "Configurations to start from."),
];

/// Writes every page to `folder`.
pub fn write(folder: &Path) -> io::Result<()> {
    let mut grammar = grammar().disable_help_subcommand(true);
    grammar.build();
    commands(&grammar, "sluice", folder)?;
    fs::write(folder.join("sluice.toml.5"), file_page())
}

fn commands(command: &Command, path: &str, folder: &Path) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        commands(sub, &format!("{path} {}", sub.get_name()), folder)?;
    }
    let name = format!("{}.{}", path.replace(' ', "-"), section(path));
    fs::write(folder.join(name), command_page(command, path)?)
}

fn section(path: &str) -> &'static str {
    if path == DAEMON { "8" } else { "1" }
}

fn command_page(command: &Command, path: &str) -> io::Result<String> {
    let version = format!("sluice {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).section(section(path)).source(version).manual(MANUAL);
    let mut page = Vec::new();
    man.render(&mut page)?;
    // The page of `sluice` names its daemon's page as one of its own section.
    let page = String::from_utf8_lossy(&page).replace("sluice\\-run(1)", "sluice\\-run(8)");
    let mut more = Roff::new();
    let examples = examples(path);
    if !examples.is_empty() {
        more.control("SH", ["EXAMPLES"]);
        for (line, about) in examples {
            more.control("TP", []).text([bold(line)]).text([roman(about)]);
        }
    }
    more.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        more.control("TP", []).text([bold(exit.code().to_string())]).text([roman(exit.meaning())]);
    }
    paths(&mut more);
    let others: Vec<&str> =
        ["sluice(1)", "sluice-run(8)", "sluice.toml(5)"].into_iter().filter(|other| !names(other, path)).collect();
    more.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    Ok(page + &more.to_roff())
}

/// The examples of one command, and for the whole program the two that begin.
fn examples(path: &str) -> Vec<Example> {
    let begins = |line: &str| {
        line.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let own = EXAMPLES.iter().copied().filter(|(line, _)| begins(line));
    if path == "sluice" { own.take(2).collect() } else { own.collect() }
}

/// The grammar whose help ends with the examples of the pages.
pub fn with_examples(command: Command, path: &str) -> Command {
    let lines: Vec<_> =
        examples(path).into_iter().map(|(line, about)| format!("  {line}\n      {about}")).collect();
    let command = if lines.is_empty() {
        command
    } else {
        command.after_help(format!("Examples:\n{}", lines.join("\n")))
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        with_examples(sub, &path)
    })
}

fn paths(page: &mut Roff) {
    page.control("SH", ["FILES"]);
    for (path, about) in FILES {
        page.control("TP", []).text([italic(path)]).text([roman(about)]);
    }
}

fn names(reference: &str, path: &str) -> bool {
    reference.split('(').next() == Some(path.replace(' ', "-").as_str())
}

/// `sluice.toml(5)`: the embedded default is a file with every key, its default and what it means.
fn file_page() -> String {
    let mut page = Roff::new();
    let source = format!("sluice {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["sluice.toml", "5", "", &source, MANUAL]);
    page.control("SH", ["NAME"]).text([roman("sluice.toml - configuration of the sluice daemon")]);
    page.control("SH", ["DESCRIPTION"]).text([roman(
        "The file is TOML. The daemon reads it when it starts and at `sluice reload`. An unknown key, a value out of range \
         or two rules that contradict each other is an error that names the line, and the configuration before it stays in \
         force. Every key may be left out.",
    )]);
    page.control("SH", ["KEYS"]).text([roman("This is every key with its default:")]);
    verbatim(&mut page, Config::default_file());
    page.control("SH", ["EXAMPLES"]).text([roman("A limit that drops, and a ban for those who keep exceeding it:")]);
    verbatim(&mut page, FILE_EXAMPLE);
    page.control("SH", ["EXIT STATUS"]).text([roman(
        "`sluice config check FILE` exits with 0 when the file is valid, and with 5 when it is not.",
    )]);
    paths(&mut page);
    page.control("SH", ["SEE ALSO"]).text([roman("sluice(1), sluice-config-check(1), sluice-run(8)")]);
    page.to_roff()
}

const FILE_EXAMPLE: &str = "\
[[service]]
name = \"ssh\"
protocol = \"tcp\"
ports = [22]
mode = \"enforce\"
limit = { connections = \"30/min\", connections_burst = 20 }
ban = { after = 100, for = \"10m\" }
";

fn verbatim(page: &mut Roff, text: &str) {
    page.control("PP", []).control("nf", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::{EXAMPLES, FILE_EXAMPLE, examples, grammar, write};
    use policy::config::Config;

    #[test]
    fn every_example_is_a_command_line() {
        for (line, _) in EXAMPLES {
            if let Err(error) = grammar().try_get_matches_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
        Config::parse(FILE_EXAMPLE, "the example").expect("a valid file");
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            assert!(!examples(path).is_empty(), "`{path}` needs a line in EXAMPLES");
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&grammar(), "sluice");
    }

    #[test]
    fn each_page_has_its_section_and_its_headings() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for page in ["sluice.1", "sluice-run.8", "sluice-limit-set.1", "sluice.toml.5"] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            for heading in ["EXAMPLES", "\"EXIT STATUS\"", "FILES", "\"SEE ALSO\""] {
                assert!(text.contains(&format!("\n.SH {heading}\n")), "{page} lacks {heading}");
            }
        }
        for absent in ["sluice-run.1", "sluice-generate.1", "sluice-help.1"] {
            assert!(!folder.path().join(absent).exists(), "{absent}");
        }
        let text = std::fs::read_to_string(folder.path().join("sluice.toml.5")).unwrap();
        assert!(text.contains("pin_directory"));
    }
}
