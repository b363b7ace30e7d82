//! A change that would disconnect an operator or drop protected sources requires `--yes`.

use std::net::IpAddr;

use super::super::asking::Asking;
use super::super::command::containment::Subject;
use super::super::delta::Standing;
use super::super::ports::Turn;
use super::super::refusal::{Code, Refusal};
use super::super::sessions::Sessions;
use policy::config::Mode;

/// The addresses that the change cuts off knowingly, or why it is not made.
pub fn check(
    standing: &Standing,
    next: &Standing,
    asking: &Asking,
    [hits, dangers]: [&[String]; 2],
    sessions: &Sessions,
    turn: &mut Turn<'_>,
) -> Result<Vec<IpAddr>, Refusal> {
    if !hits.is_empty() && !asking.options.yes {
        return Err(Refusal::new(
            Code::NeedsConfirmation,
            format!("this limit would have hit exempt or operators' addresses: {}", hits.join(", ")),
        )
        .next("nothing was changed; choose a higher rate, or ask again with --yes"));
    }
    if !dangers.is_empty() && !asking.options.yes {
        return Err(Refusal::new(
            Code::NeedsConfirmation,
            format!("this would take protection or the network away: {}", dangers.join(", ")),
        )
        .next("nothing was changed; ask again with --yes if you mean it, best with --confirm-within 60s"));
    }
    if !next.rules.config.access.operator_safe {
        return Ok(Vec::new());
    }
    let addresses = sessions.protected(&asking.caller, &turn.host.sessions());
    let now = turn.now.wall;
    let already = policy::would_cut(&standing.rules, &addresses, now);
    let mut cuts: Vec<_> = policy::would_cut(&next.rules, &addresses, now);
    cuts.retain(|cut| !already.contains(cut));
    let mut told: Vec<_> = cuts.iter().map(ToString::to_string).collect();
    let new_bans = next.bans.keys().filter(|source| !standing.bans.contains_key(source));
    let banned =
        new_bans.filter_map(|source| Some((source, addresses.iter().find(|a| source.contains(*a))?)));
    let banned: Vec<_> = banned.map(|(source, address)| (*source, *address)).collect();
    told.extend(banned.iter().map(|(source, address)| format!("{address} lies in {source} (the ban)")));
    let own: Vec<_> = addresses.iter().chain(&next.rules.own).copied().collect();
    let contained: Vec<_> = new_containments(standing, next)
        .filter_map(|source| Some((source, *own.iter().find(|address| source.contains(*address))?)))
        .collect();
    told.extend(
        contained.iter().map(|(source, address)| format!("{address} lies in {source} (the containment)")),
    );
    if told.is_empty() {
        return Ok(Vec::new());
    }
    if !asking.options.yes {
        return Err(Refusal::new(
            Code::NeedsConfirmation,
            format!("this would cut off an operator or the host itself: {}", told.join(", ")),
        )
        .next("nothing was changed; ask again with --yes if you mean it, best with --confirm-within 60s"));
    }
    Ok(cuts.iter().map(|cut| cut.address).chain(banned.iter().map(|(_, address)| *address)).collect())
}

/// Sources that `next` newly contains in earnest.
fn new_containments<'a>(standing: &'a Standing, next: &'a Standing) -> impl Iterator<Item = ipnet::IpNet> {
    next.containments.iter().filter_map(|(subject, one)| match subject {
        Subject::Source(source)
            if one.mode == Mode::Enforce && !standing.containments.contains_key(subject) =>
        {
            Some(*source)
        }
        _ => None,
    })
}
