//! A change that would disconnect an operator or drop protected sources requires `--yes`.

use std::net::IpAddr;

use super::super::asking::Asking;
use super::super::delta::Standing;
use super::super::ports::Turn;
use super::super::sessions::Sessions;
use api::containments::Subject;
use api::{Code, Error};
use ipnet::IpNet;
use policy::Permission;
use policy::config::Mode;

/// The addresses that the change cuts off knowingly, or why it is not made.
pub fn check(
    standing: &Standing,
    next: &Standing,
    asking: &Asking,
    [hits, dangers]: [&[String]; 2],
    sessions: &Sessions,
    turn: &mut Turn<'_>,
) -> Result<Vec<IpAddr>, Error> {
    if !hits.is_empty() && !asking.options.yes {
        return Err(Error::new(
            Code::NeedsConfirmation,
            format!("this limit would have hit exempt or operators' addresses: {}", hits.join(", ")),
        )
        .next("nothing was changed; choose a higher rate, or ask again with --yes"));
    }
    if !dangers.is_empty() && !asking.options.yes {
        return Err(Error::new(
            Code::NeedsConfirmation,
            format!("this would take protection or the network away: {}", dangers.join(", ")),
        )
        .next("nothing was changed; ask again with --yes if you mean it, best with --confirm-within 60s"));
    }
    if !next.rules.config.access.operator_safe {
        return Ok(Vec::new());
    }
    let wide: Vec<_> = wide_exemptions(standing, next).map(|prefix| prefix.to_string()).collect();
    if !wide.is_empty() && !asking.options.yes {
        return Err(Error::new(
            Code::NeedsConfirmation,
            format!("this would take the protection from all of {}", wide.join(", ")),
        )
        .next("nothing was changed; name the addresses that are meant, or ask again with --yes"));
    }
    let mut addresses = sessions.protected(&asking.caller, &turn.host.lifelines());
    // A host that refuses its own addresses refuses what they stand in for: its neighbours' answers, and itself.
    addresses.extend(&next.rules.own);
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
    let contained: Vec<_> = new_containments(standing, next)
        .filter_map(|source| Some((source, *addresses.iter().find(|address| source.contains(*address))?)))
        .collect();
    told.extend(
        contained.iter().map(|(source, address)| format!("{address} lies in {source} (the containment)")),
    );
    if told.is_empty() {
        return Ok(Vec::new());
    }
    if !asking.options.yes {
        return Err(Error::new(
            Code::NeedsConfirmation,
            format!("this would cut off an operator or the host itself: {}", told.join(", ")),
        )
        .next("nothing was changed; ask again with --yes if you mean it, best with --confirm-within 60s"));
    }
    Ok(cuts.iter().map(|cut| cut.address).chain(banned.iter().map(|(_, address)| *address)).collect())
}

/// Exemptions that are new and cover a large part of the address space.
fn wide_exemptions<'a>(standing: &'a Standing, next: &'a Standing) -> impl Iterator<Item = IpNet> + 'a {
    const fn is_wide(prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(prefix) => prefix.prefix_len() < 8,
            IpNet::V6(prefix) => prefix.prefix_len() < 16,
        }
    }
    // Few are wide, and only those are searched for.
    let exempt = next.rules.access.iter().filter(|entry| entry.permission == Permission::Exempt);
    let wide = exempt.filter(|entry| is_wide(entry.prefix));
    wide.filter(|entry| !standing.rules.access.contains(entry)).map(|entry| entry.prefix)
}

/// Sources that `next` newly contains in earnest.
fn new_containments<'a>(standing: &'a Standing, next: &'a Standing) -> impl Iterator<Item = IpNet> {
    next.containments.iter().filter_map(|(subject, one)| match subject {
        Subject::Source(source)
            if one.mode == Mode::Enforce && !standing.containments.contains_key(subject) =>
        {
            Some(*source)
        }
        _ => None,
    })
}
