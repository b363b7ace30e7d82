//! `sluice contain`: cuts off or limits one source or one workload, on ingress and on egress.

use clap::Args;
use jiff::Timestamp;

use super::change::ChangeArgs;
use super::table::Page;
use super::{Context, Execute, Failure, figures, arguments};
use policy::config::{Duration, Mode, Rate};
use api::containments::{Contained, ContainmentLift, ContainmentSet, ListContainments};

/// Cuts off or limits one source or one workload, or lists who is contained
///
/// A source is held wherever its packets pass: on ingress, and on egress when it lives on this host. A workload is held
/// where it sends. Without a rate nothing at all may be sent.
#[derive(Clone, Debug, Args)]
pub struct Contain {
    /// An address, or a workload as `sluice flows` shows it; without it, lists who is contained
    subject: Option<String>,
    /// Packets that may be sent, as in 100/s
    #[arg(long, value_name = "RATE", requires = "subject", value_parser = Rate::counted)]
    packets: Option<Rate>,
    /// Bytes that may be sent, as in "1 Mbit/s"
    #[arg(long, value_name = "RATE", requires = "subject", value_parser = Rate::of_bytes)]
    bytes: Option<Rate>,
    /// Count what it would drop, let it pass
    #[arg(long, requires = "subject")]
    observe: bool,
    /// How long, as in 1h [default: until it is lifted]
    #[arg(long = "for", value_name = "TIME", requires = "subject", value_parser = arguments::time)]
    duration: Option<Duration>,
    /// Why, for those who read the list later
    #[arg(long, value_name = "TEXT", requires = "subject")]
    reason: Option<String>,
    /// Take the containment back
    #[arg(
        long,
        requires = "subject",
        conflicts_with_all = ["packets", "bytes", "observe", "duration", "reason"]
    )]
    lift: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Execute for Contain {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let Some(subject) = self.subject else {
            let list = context.ask(&ListContainments {})?;
            return context
                .show(&list, |list, page| render(&list.answer.containments, Timestamp::now(), page));
        };
        if self.lift {
            return context.change(&ContainmentLift { subject }, &self.change);
        }
        let set = ContainmentSet {
            subject,
            packets: self.packets,
            bytes: self.bytes,
            observe: self.observe,
            for_seconds: self.duration.map(|Duration(time)| time.as_secs().max(1)),
            comment: self.reason,
        };
        context.change(&set, &self.change)
    }
}

pub fn render(containments: &[Contained], now: Timestamp, page: &mut Page) {
    let headings =
        ["SUBJECT", "MODE", ">PACKETS", ">BYTES", "ENDS", "~>SENT", ">OVER", "~FROM", "~WHY"];
    let rows = containments.iter().map(|contained| {
        let one = &contained.containment;
        let none = if one.packets.is_none() && one.bytes.is_none() { "none" } else { "-" };
        let mode = match one.mode {
            _ if !contained.in_force => "not running",
            Mode::Observe => "observe",
            _ => "enforce",
        };
        vec![
            one.subject.to_string(),
            mode.to_owned(),
            one.packets.map_or(none.to_owned(), |rate| rate.to_string()),
            one.bytes.map_or(none.to_owned(), |rate| rate.to_string()),
            one.until.map_or_else(|| "never".to_owned(), |until| figures::until(until, now)),
            figures::count(contained.judged.packets),
            figures::count(contained.over.packets),
            one.made_by.clone(),
            one.comment.clone().unwrap_or_default(),
        ]
    });
    page.table(&headings, rows.collect(), "nobody is contained");
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::cli::samples::{self, noon};

    #[test]
    fn who_is_contained_stands_with_what_came_of_it() {
        let mut page = Page::plain();
        render(&[samples::contained()], noon(), &mut page);
        let wanted = "\
SUBJECT       MODE     PACKETS  BYTES  ENDS       SENT  OVER  FROM   WHY
copy.service  enforce    100/s      -  in 10 min   250    50  uid 0  exfiltration
";
        assert_eq!(page.text(), wanted);
    }
}
