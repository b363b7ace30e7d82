//! What README shows is true: its configuration is valid, its commands are understood.

use clap::Parser;

use crate::cli::Arguments;
use policy::config::Config;

const README: &str = include_str!("../../../../README.md");

fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    blocks_of(README, language)
}

fn blocks_of(page: &'static str, language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    page.match_indices("```").step_by(2).filter_map(move |(start, _)| {
        let block = page[start..].strip_prefix(fence.as_str())?;
        block.split("```").next()
    })
}

#[test]
fn its_configurations_are_valid() {
    let mut checked = 0;
    for block in blocks("toml") {
        Config::parse(block, "README.md").unwrap_or_else(|error| panic!("{error}"));
        checked += 1;
    }
    assert!(checked > 0);
}

/// Valid, free of contradictions, and without what is legal and unwise.
#[test]
fn the_configurations_of_the_guides_are_accepted() {
    let guides = [
        ("bastion.md", include_str!("../../../../docs/guide/bastion.md")),
        ("docker.md", include_str!("../../../../docs/guide/docker.md")),
        ("kubernetes.md", include_str!("../../../../docs/guide/kubernetes.md")),
        ("mirror-port.md", include_str!("../../../../docs/guide/mirror-port.md")),
        ("proxies.md", include_str!("../../../../docs/guide/proxies.md")),
    ];
    for (name, page) in guides {
        let mut checked = 0;
        for block in blocks_of(page, "toml") {
            let config = Config::parse(block, name).unwrap_or_else(|error| panic!("{error}"));
            policy::check(&config, jiff::Timestamp::now()).unwrap_or_else(|error| panic!("{name}: {error}"));
            checked += 1;
        }
        assert!(checked > 0, "{name}");
    }
}

#[test]
fn the_commands_of_the_pages_for_operators_are_understood() {
    let pages = [
        include_str!("../../../../docs/guide/operations.md"),
        include_str!("../../../../docs/reference/replay.md"),
        include_str!("../../../../docs/guide/tuning.md"),
        include_str!("../../../../docs/guide/bastion.md"),
        include_str!("../../../../docs/guide/docker.md"),
        include_str!("../../../../docs/guide/findings.md"),
        include_str!("../../../../docs/guide/first-limits.md"),
        include_str!("../../../../docs/guide/kubernetes.md"),
        include_str!("../../../../docs/guide/mirror-port.md"),
        include_str!("../../../../docs/guide/proxies.md"),
        include_str!("../../../../docs/guide/sizing.md"),
        include_str!("../../../../packaging/prometheus/sluice.rules.yml"),
    ];
    for code in pages.iter().flat_map(|page| page.lines()).flat_map(|line| line.split('`').skip(1).step_by(2))
    {
        let Some(line) = code.strip_prefix("sluice ").filter(|line| !line.contains("...")) else { continue };
        // Placeholders stand for a name or a number.
        let line = line.replace("ADDRESS", "192.0.2.1").replace("{{ $labels.service }}", "web");
        let line = line.replace("NUMBER", "12").replace("\"1 Mbit/s\"", "1Mbit/s");
        let words = std::iter::once("sluice").chain(line.split_whitespace());
        if let Err(error) = Arguments::try_parse_from(words) {
            assert_eq!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                "{code}: {error}"
            );
        }
    }
}

#[test]
fn its_commands_are_understood() {
    let mut checked = 0;
    let shell = blocks("sh").flat_map(str::lines).filter(|line| line.starts_with("sluice "));
    let table = README
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    for line in shell.chain(table.filter(|code| code.starts_with("sluice "))) {
        let line = line.split(" #").next().unwrap_or(line).replace(['[', ']'], "");
        // Of alternatives, written `a\|b`, the first one stands for all.
        let words: Vec<String> = line
            .replace("ADDRESS", "192.0.2.1")
            .split_whitespace()
            .map(|word| word.split("\\|").next().unwrap_or(word).to_owned())
            .collect();
        if let Err(error) = Arguments::try_parse_from(words) {
            panic!("{line}: {error}");
        }
        checked += 1;
    }
    assert!(checked > 15, "only {checked} commands were found");
}
