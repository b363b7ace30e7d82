//! `sluice graph`: who talks to whom, as a table, JSON or a drawing for Graphviz.

use std::fmt::Write;

use clap::Args;

use super::context::print;
use super::table::Page;
use super::{Context, Execute, Failure, figures};
use api::flows::{GraphEdge, ShowGraph};

/// Shows who talks to whom, new edges and those in clear marked
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
            if edge.application == "none" { String::new() } else { edge.application.clone() },
            marks(edge),
        ]
    });
    let headings = ["FROM", "TO", "PROTOCOL", ">PORT", ">CONVERSATIONS", ">BYTES", "SPEAKS", ""];
    page.table(&headings, rows.collect(), "nobody inside talks to anybody");
}

/// What is to be noticed of an edge.
fn marks(edge: &GraphEdge) -> String {
    let new = edge.new.then(|| "new".to_owned());
    let clear = match (edge.in_clear, edge.encrypted) {
        (0, _) => None,
        (_, 0) => Some("in clear".to_owned()),
        (clear, _) => Some(format!("{clear} in clear")),
    };
    new.into_iter().chain(clear).collect::<Vec<_>>().join(", ")
}

/// A digraph; new edges are red, edges in clear are dashed.
fn dot(edges: &[GraphEdge]) -> String {
    let mut text = "digraph sluice {\n  rankdir=LR;\n".to_owned();
    for edge in edges {
        let color = if edge.new { ", color=red" } else { "" };
        let style = if edge.in_clear > 0 { ", style=dashed" } else { "" };
        let (from, to) = (quoted(&edge.from), quoted(&edge.to));
        let label = quoted(&format!("{} {}", edge.protocol, edge.port));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {from} -> {to} [label={label}{color}{style}];");
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
    use super::{dot, marks};
    use crate::cli::samples::edge;

    #[test]
    fn an_edge_says_that_it_is_new_and_how_much_of_it_is_in_clear() {
        let mut edge = edge();
        assert_eq!(marks(&edge), "new, 1 in clear");
        (edge.new, edge.encrypted) = (false, 0);
        assert_eq!(marks(&edge), "in clear");
        edge.in_clear = 0;
        assert_eq!(marks(&edge), "");
    }

    #[test]
    fn a_drawing_marks_what_is_new_and_no_name_breaks_out_of_it() {
        let mut odd = edge();
        odd.from = "a\"]; evil [\n".to_owned();
        (odd.new, odd.in_clear) = (false, 0);
        let wanted = "digraph sluice {\n  rankdir=LR;\n  \
                      \"backup.service\" -> \"10.0.0.9\" [label=\"tcp 443\", color=red, style=dashed];\n  \
                      \"a\\\"]; evil [\" -> \"10.0.0.9\" [label=\"tcp 443\"];\n}\n";
        assert_eq!(dot(&[edge(), odd]), wanted);
    }
}
