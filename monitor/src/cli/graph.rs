//! `sluice graph`: who talks to whom, as a table, JSON or a drawing for Graphviz.

use std::fmt::Write;

use clap::Args;

use super::context::print;
use super::table::Page;
use super::{Context, Execute, Failure, figures};
use api::flows::{GraphEdge, ShowGraph};

/// Shows who talks to whom, new edges marked
#[derive(Clone, Copy, Debug, Args)]
pub struct Graph {
    /// In the language of Graphviz, for `dot -Tsvg`
    #[arg(long)]
    pub dot: bool,
}

impl Execute for Graph {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let graph = context.ask(&ShowGraph {})?;
        if self.dot {
            return print(&dot(&graph.answer.edges));
        }
        context.show(&graph, |graph, page| render(&graph.answer.edges, page))
    }
}

fn render(edges: &[GraphEdge], page: &mut Page) {
    let rows = edges.iter().map(|edge| {
        vec![
            edge.from.clone(),
            edge.to.clone(),
            edge.protocol.clone(),
            edge.port.to_string(),
            edge.conversations.to_string(),
            figures::bytes(edge.bytes),
            if edge.new { "new".to_owned() } else { String::new() },
        ]
    });
    let headings = ["FROM", "TO", "PROTOCOL", ">PORT", ">CONVERSATIONS", ">BYTES", ""];
    page.table(&headings, rows.collect(), "nobody inside talks to anybody");
}

/// A digraph; new edges are red.
fn dot(edges: &[GraphEdge]) -> String {
    let mut text = "digraph sluice {\n  rankdir=LR;\n".to_owned();
    for edge in edges {
        let color = if edge.new { ", color=red" } else { "" };
        let (from, to) = (quoted(&edge.from), quoted(&edge.to));
        let label = quoted(&format!("{} {}", edge.protocol, edge.port));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {from} -> {to} [label={label}{color}];");
    }
    text + "}\n"
}

/// A name as the language quotes it; names of workloads come from elsewhere.
fn quoted(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::dot;
    use crate::cli::samples::edge;

    #[test]
    fn a_drawing_marks_what_is_new_and_no_name_breaks_out_of_it() {
        let mut odd = edge();
        odd.from = "a\"]; evil [\n".to_owned();
        odd.new = false;
        let wanted = "digraph sluice {\n  rankdir=LR;\n  \
                      \"backup.service\" -> \"10.0.0.9\" [label=\"tcp 443\", color=red];\n  \
                      \"a\\\"]; evil [\" -> \"10.0.0.9\" [label=\"tcp 443\"];\n}\n";
        assert_eq!(dot(&[edge(), odd]), wanted);
    }
}
