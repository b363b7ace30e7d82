//! How proposals look to people: a block per service and class, numbers before words.

use jiff::Timestamp;

use crate::cli::figures;
use crate::cli::limit::rate_of;
use crate::cli::table::Page;
use crate::engine::command::{TuneList, Tuned};
use crate::snapshot::RateAndBurst;
use policy::config::{Mode, Rate};
use tuning::proposal::{Confidence, Dimension, Hit, Limit, Proposal};
use tuning::trial::{Report, WouldDrop};
use tuning::{Advice, Freeze};

/// Sources that are named; the rest is counted.
const NAMED: usize = 10;

pub fn render(list: &TuneList, page: &mut Page) {
    if let Some(freeze) = list.freeze {
        page.line(match freeze {
            Freeze::Flood => "frozen: a flood is on, so nothing is learned and no step is taken",
            Freeze::Alert => "frozen: an alert is open, so nothing is learned and no step is taken",
            Freeze::Thawing => "frozen: the last flood or alert is too fresh",
        });
        page.blank();
    }
    if list.limits.is_empty() {
        page.line("nothing to propose for");
    }
    for (position, tuned) in list.limits.iter().enumerate() {
        if position > 0 {
            page.blank();
        }
        page.line(format!(
            "{} (class {}), limit {}, tuning {}",
            tuned.service,
            tuned.class,
            tuned.mode.label(),
            match tuned.tuning {
                tuning::Mode::Off => "off",
                tuning::Mode::Propose => "proposes",
                tuning::Mode::Auto => "auto",
            }
        ));
        match &tuned.advice {
            Advice::Proposal(proposal) => show(tuned, proposal, page),
            Advice::TooLittleData(too_little) => {
                for missing in &too_little.missing {
                    page.field("  too little", missing.sentence());
                }
            }
        }
        if let Some(decisions) = &tuned.decisions {
            let told: Vec<_> = ["packets", "bytes", "connections"]
                .iter()
                .zip(decisions)
                .map(|(dimension, decision)| format!("{dimension} {}", decision.label().replace('_', " ")))
                .collect();
            page.field("  auto", told.join(", "));
        }
        if let Some(trial) = &tuned.trial {
            trial_of(trial, list.at, page);
        }
    }
}

fn show(tuned: &Tuned, proposal: &Proposal, page: &mut Page) {
    let evidence = &proposal.evidence;
    page.field(
        "  rests on",
        format!(
            "about {} sources, {} hours, {} of 168 hours of the week, {} active source-seconds, confidence {}",
            evidence.sources,
            figures::rate(evidence.learned_hours),
            evidence.hours_covered,
            figures::rate(evidence.source_seconds),
            match evidence.confidence {
                Confidence::Low => "low",
                Confidence::Fair => "fair",
                Confidence::High => "high",
            }
        ),
    );
    page.field("  aims at", format!("quantile {} x headroom {}", proposal.quantile, proposal.headroom));
    let rows = ["packets", "bytes", "connections"].iter().zip(proposal.by_dimension());
    let rows = rows.filter_map(|(name, told)| Some(row(name, told?)));
    let headings = [
        "  LIMIT ON",
        ">NOW",
        ">PROPOSED",
        "~>OBSERVED",
        "~>BETWEEN",
        "~>HIGHEST",
        "~BUSIEST HOUR",
        ">PROPOSED DROPS",
        ">NOW DROPS",
    ];
    page.table(&headings, rows.collect(), "  nothing to limit was seen");
    if !proposal.hit.is_empty() {
        let least = if proposal.hit_is_complete { "" } else { "at least " };
        let count = sources(&proposal.hit);
        let noun = if count == 1 { "source" } else { "sources" };
        page.field("  could hit", format!("{least}{count} {noun}: {}", hits(&proposal.hit)));
    }
    if !proposal.locked_out.is_empty() {
        page.field("  LOCKS OUT", hits(&proposal.locked_out));
    }
    if tuned.mode == Mode::Off {
        page.field("  note", "the limit is off: no rate changes a verdict until its mode does");
    }
}

fn row(name: &str, told: &Dimension) -> Vec<String> {
    let limit = |limit: Limit| {
        let rate = match name {
            "bytes" => Rate::bytes_per_second(limit.per_second),
            _ => Rate::per_second(limit.per_second),
        };
        let (rate, burst) = rate_of(&RateAndBurst { rate, burst: limit.burst });
        format!("{rate} +{burst}")
    };
    let share = |excess: &tuning::quantiles::Excess| {
        if excess.of <= 0.0 {
            return "0 %".to_owned();
        }
        let percent = |part: f64| {
            let percent = part / excess.of * 100.0;
            if percent == 0.0 { "0".to_owned() } else { format!("{percent:.3}") }
        };
        let (low, high) = (percent(excess.at_least), percent(excess.at_most));
        if low == high { format!("{high} %") } else { format!("{low} to {high} %") }
    };
    vec![
        format!("  {name}"),
        told.current.map_or_else(|| "-".to_owned(), |current| limit(current.limit)),
        limit(told.limit),
        figures::rate(told.observed),
        format!("{}-{}", figures::rate(told.between[0]), figures::rate(told.between[1])),
        figures::rate(told.highest),
        told.busiest_hour.clone().unwrap_or_else(|| "several".to_owned()),
        share(&told.would_have_dropped),
        told.current.map_or_else(|| "-".to_owned(), |current| share(&current.would_have_dropped)),
    ]
}

fn sources(hits: &[Hit]) -> usize {
    let mut sources: Vec<_> = hits.iter().map(|hit| hit.source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources.len()
}

fn hits(hits: &[Hit]) -> String {
    let named = hits.iter().take(NAMED).map(|hit| {
        format!("{} ({} {}/s)", hit.source, figures::rate(hit.peak), hit.dimension)
    });
    listed(named.collect(), hits.len())
}

fn listed(mut named: Vec<String>, all: usize) -> String {
    if all > named.len() {
        named.push(format!("{} more", all - named.len()));
    }
    named.join(", ")
}

fn trial_of(trial: &Report, now: Timestamp, page: &mut Page) {
    let since = Timestamp::from_second(trial.since).unwrap_or(now);
    let Report { calm, trouble, .. } = trial;
    page.field(
        "  on trial",
        format!(
            "since {}: would have dropped {} of {} packets in calm times{}",
            figures::ago(since, now),
            figures::count(calm.would_drop),
            figures::count(calm.packets),
            if trouble.packets == 0 {
                String::new()
            } else {
                let (dropped, all) = (figures::count(trouble.would_drop), figures::count(trouble.packets));
                format!(", {dropped} of {all} during floods and alerts")
            }
        ),
    );
    let named = |drops: &[WouldDrop]| {
        let named = drops.iter().take(NAMED);
        let named = named.map(|drop| format!("{} ({})", drop.source, figures::count(drop.packets)));
        listed(named.collect(), drops.len())
    };
    if !trial.sources.is_empty() {
        page.field("  would hit", named(&trial.sources));
    }
    if !trial.locked_out.is_empty() {
        page.field("  LOCKS OUT", named(&trial.locked_out));
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::cli::samples::tuned;

    #[test]
    fn a_proposal_is_shown_with_what_it_rests_on_and_whom_it_could_hit() {
        let mut page = Page::plain();
        render(&tuned(), &mut page);
        let wanted = "\
web (class outside), limit enforce, tuning proposes
  rests on    about 41 sources, 200 hours, 168 of 168 hours of the week, 2.50 M active source-seconds, confidence high
  aims at     quantile 0.999 x headroom 2
  LIMIT ON         NOW     PROPOSED  OBSERVED  BETWEEN  HIGHEST  BUSIEST HOUR   PROPOSED DROPS           NOW DROPS
  packets   100/s +200  640/s +1280       320  300-340      900  Tue 13:00 UTC    0 to 0.010 %  20.000 to 25.000 %
  could hit   1 source: 192.0.2.7 (900 packets/s)
  on trial    since 10 min ago: would have dropped 3 of 9000 packets in calm times
  would hit   192.0.2.7 (3)
";
        assert_eq!(page.text(), wanted);
    }
}
