//! `sluice generate`: what packages and docs/ hold of the program's own declarations.

mod manual;

pub use manual::with_examples;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::context::print;
use super::{Context, Execute, Exit, Failure, grammar, reference};
use crate::{control, metrics};

/// Writes manual pages, completions and the generated pages of docs/
#[derive(Clone, Debug, Args)]
#[command(hide = true)]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Writes the manual pages: each command, the daemon and the file
    Man(Out),
    /// Writes a completion script for each shell
    Completions(Out),
    /// Writes the generated parts of the pages in a folder such as docs
    Docs {
        #[command(flatten)]
        out: Out,
        /// Only says which pages are out of date
        #[arg(long)]
        check: bool,
    },
}

#[derive(Clone, Debug, Args)]
struct Out {
    /// An existing folder
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// A page, and what it should be given what it is.
type Page = (&'static str, fn(&str) -> Result<String, String>);

const PAGES: [Page; 4] = [
    ("cli.md", reference::reference),
    ("control-api.md", control::reference::reference),
    ("metrics.md", |_| Ok(metrics::reference::reference())),
    ("openapi.json", |_| control::reference::description()),
];

impl Execute for Generate {
    fn execute(self, _context: &Context) -> Result<(), Failure> {
        match self.what {
            What::Man(Out { out }) => {
                manual::write(&out).map_err(|error| cannot("write to", &out, &error))
            }
            What::Completions(Out { out }) => {
                for shell in Shell::value_variants() {
                    clap_complete::generate_to(*shell, &mut grammar(), "sluice", &out)
                        .map_err(|error| cannot("write to", &out, &error))?;
                }
                Ok(())
            }
            What::Docs { out: Out { out }, check } => pages(&out, check),
        }
    }
}

/// Writes, or only checks, every page in `folder`.
pub fn pages(folder: &Path, check: bool) -> Result<(), Failure> {
    let mut stale = Vec::new();
    for (name, make) in PAGES {
        let path = folder.join(name);
        let present = fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))?;
        let wanted = make(&present)
            .map_err(|error| Failure::new(Exit::Failed, format!("generate {}: {error}", path.display())))?;
        if present == wanted {
            continue;
        }
        if check {
            stale.push(name);
        } else {
            fs::write(&path, wanted).map_err(|error| cannot("write", &path, &error))?;
            print(&format!("wrote {}\n", path.display()))?;
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let names = stale.join(", ");
    Err(Failure::new(
        Exit::Failed,
        format!("generate: {names} in {} are out of date; run `cargo xtask docs`", folder.display()),
    ))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("generate: {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::pages;

    #[test]
    fn the_pages_of_docs_say_what_the_code_declares() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let check = std::env::var_os("SLUICE_WRITE_DOCS").is_none();
        if let Err(failure) = pages(&docs, check) {
            panic!("{} (or SLUICE_WRITE_DOCS=1 cargo test -p monitor --lib pages_of_docs)", failure.message);
        }
    }
}
