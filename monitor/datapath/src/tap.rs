//! The tap of `sluice capture`: the filter in the memory of the programs that guard interfaces, and the rings that they fill.
//!
//! In: a pin directory and a filter. Out: frames with what was decided of each. The rings belong to this process: the kernel
//! takes them away with it, however it ends, and the programs switch a capture off that has no ring.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::maps::MapData;
use aya::maps::perf::{PerfEvent, PerfEventArray, PerfEventArrayBuffer};
use monitor_common::capture::{Filter, Head, Progress};
use monitor_common::names::map;
use monitor_common::plain::Plain as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::attach::LinkState;
use super::left;
use super::pins::{self, Hook, LinkPin};
use super::syscall::{self, held};
use super::table::{Array, Map};

/// Pages of each CPU's ring.
const PAGES: usize = 128;

/// Rings in the programs that judge.
pub struct Tap {
    pin_directory: PathBuf,
    filter: Filter,
    /// Which maps each program holds, by its id.
    known: BTreeMap<u32, u32>,
    /// By the id of the map of rings.
    taps: BTreeMap<u32, Programs>,
    interfaces: BTreeMap<u32, String>,
    /// Of programs that are gone.
    past: Progress,
    /// There is one filter, so one capture. Released when the process ends.
    _lock: OwnedFd,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

/// The programs of one load: they share their maps.
struct Programs {
    filter: Array<Filter>,
    progress: Array<Progress>,
    rings: Vec<PerfEventArrayBuffer<MapData>>,
}

impl Tap {
    /// Opens rings in all programs that guard interfaces from `pin_directory`.
    ///
    /// # Errors
    /// Nothing is guarded, another capture runs, or the caller is not root.
    pub fn open(pin_directory: &Path, filter: &Filter) -> Result<Self> {
        let mut tap = Self {
            pin_directory: pin_directory.to_owned(),
            filter: *filter,
            known: BTreeMap::new(),
            taps: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            past: Progress::default(),
            _lock: lock(pin_directory)?,
        };
        tap.follow()?;
        ensure!(!tap.taps.is_empty(), "{}", nothing_guarded(pin_directory));
        Ok(tap)
    }

    /// Follows a daemon that was started again, whose programs are others, and keeps the filter where it is.
    pub fn follow(&mut self) -> Result<()> {
        let mut there = BTreeSet::new();
        for pin in left::links_of_this_layout(&self.pin_directory)? {
            let Some(program) = program_of(&pin)? else { continue };
            self.interfaces.insert(pin.slot, pin.interface);
            let (id, maps) = held::program(program.as_fd())?;
            if let Some(rings) = self.known.get(&id) {
                there.insert(*rings);
                continue;
            }
            let maps = named(&maps)?;
            let rings = *maps
                .get(map::FRAMES)
                .map(|(rings, _)| rings)
                .with_context(|| of_another_version(map::FRAMES))?;
            if let Entry::Vacant(free) = self.taps.entry(rings) {
                free.insert(Programs::open(maps)?);
            }
            self.known.insert(id, rings);
            there.insert(rings);
        }
        for programs in
            self.taps.extract_if(.., |rings, _| !there.contains(rings)).map(|(_, programs)| programs)
        {
            self.past = sum(self.past, programs.progress.get(0)?);
        }
        self.known.retain(|_, rings| there.contains(rings));
        for programs in self.taps.values() {
            // A CPU without a ring, such as one that came up since, switches it off.
            if programs.filter.get(0)? != self.filter {
                programs.filter.set(0, &self.filter)?;
            }
        }
        Ok(())
    }

    /// Interfaces by slot.
    pub fn interfaces(&self) -> &BTreeMap<u32, String> {
        &self.interfaces
    }

    /// What was counted so far.
    pub fn progress(&self) -> Result<Progress> {
        self.taps.values().try_fold(self.past, |past, programs| Ok(sum(past, programs.progress.get(0)?)))
    }

    /// Waits at most so long for frames and hands over all that are there. Frames of one CPU are in order.
    pub fn read(&mut self, wait: Duration, mut take: impl FnMut(&Head, &[u8])) -> Result<()> {
        let rings = || self.taps.values().flat_map(|programs| &programs.rings);
        let mut ready: Vec<PollFd<'_>> = rings().map(|ring| PollFd::new(ring, PollFlags::IN)).collect();
        let wait = Timespec::try_from(wait).context("wait so long")?;
        match poll(&mut ready, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for frames"),
        }
        drop(ready);
        let mut whole = Vec::new();
        for ring in self.taps.values_mut().flat_map(|programs| &mut programs.rings) {
            ring.for_each(|event| {
                if let PerfEvent::Sample { head, tail } = event {
                    whole.clear();
                    whole.extend_from_slice(head);
                    whole.extend_from_slice(tail);
                    if let Some((head, frame)) = split(&whole) {
                        take(&head, frame);
                    }
                }
            });
        }
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        for programs in self.taps.values() {
            // Where it fails, the first frame without a ring does it.
            let _ = programs.filter.set(0, &Filter::OFF);
        }
    }
}

impl Programs {
    fn open(mut maps: BTreeMap<&'static str, (u32, OwnedFd)>) -> Result<Self> {
        let mut take = |name: &'static str| {
            maps.remove(name).map(|(_, fd)| fd).with_context(|| of_another_version(name))
        };
        let (filter, progress) = (take(map::CAPTURE)?, take(map::CAPTURED)?);
        let rings = rings(take(map::FRAMES)?)?;
        let progress = Array::new(&Map::new(map::CAPTURED, progress)?)?;
        progress.set(0, &Progress::default())?;
        Ok(Self { filter: Array::new(&Map::new(map::CAPTURE, filter)?)?, progress, rings })
    }
}

fn of_another_version(name: &str) -> String {
    format!("the programs that judge have no {name}: start the daemon again with this version")
}

fn nothing_guarded(pin_directory: &Path) -> String {
    format!("nothing is guarded: no program of sluice is pinned under {}", pin_directory.display())
}

fn lock(pin_directory: &Path) -> Result<OwnedFd> {
    let place = pins::version(pin_directory);
    let shown = place.display();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = match rustix::fs::open(&place, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => bail!("{}", nothing_guarded(pin_directory)),
        other => other.map_err(std::io::Error::from).with_context(|| format!("open {shown}"))?,
    };
    match rustix::fs::flock(held.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => bail!("another capture runs: end it first"),
        other => other.with_context(|| format!("lock {shown}"))?,
    }
    Ok(held)
}

/// The maps of a capture among those with these ids, by name.
fn named(ids: &[u32]) -> Result<BTreeMap<&'static str, (u32, OwnedFd)>> {
    let mut maps = BTreeMap::new();
    for id in ids {
        let fd = held::map(*id)?;
        let name = held::name(fd.as_fd())?;
        if let Some(name) = [map::CAPTURE, map::CAPTURED, map::FRAMES].into_iter().find(|ours| *ours == name)
        {
            maps.insert(name, (*id, fd));
        }
    }
    Ok(maps)
}

/// A ring for each CPU that runs.
fn rings(frames: OwnedFd) -> Result<Vec<PerfEventArrayBuffer<MapData>>> {
    let mut array = PerfEventArray::try_from(aya::maps::Map::PerfEventArray(MapData::from_fd(frames)?))?;
    let cpus = aya::util::online_cpus().map_err(|(what, error)| anyhow!(error).context(what))?;
    let open = |cpu| array.open(cpu, Some(PAGES)).with_context(|| format!("open the ring of CPU {cpu}"));
    cpus.into_iter().map(open).collect()
}

/// The program that a pin leads to; `None` once its interface is gone.
fn program_of(pin: &LinkPin) -> Result<Option<OwnedFd>> {
    let shown = pin.path.display();
    let pinned = match syscall::open_pin(&pin.path) {
        // Meanwhile its interface was let go.
        Err(error) if error.is(libc::ENOENT) => return Ok(None),
        other => other.with_context(|| format!("open {shown}"))?,
    };
    if let Hook::Filter { .. } = pin.hook {
        return Ok(Some(pinned));
    }
    let state = LinkState::of(pinned.as_fd()).with_context(|| format!("ask about {shown}"))?;
    Ok(state.ifindex().map(|_| syscall::program_by_id(state.program())).transpose()?)
}

/// What was said of a frame, and the frame.
fn split(record: &[u8]) -> Option<(Head, &[u8])> {
    let head = Head::from_bytes(record)?;
    let frame = record.get(size_of::<Head>()..)?;
    // The ring rounds records up.
    Some((head, frame.get(..head.captured as usize)?))
}

fn sum(one: Progress, other: Progress) -> Progress {
    Progress {
        bucket: 0,
        selected: one.selected + other.selected,
        over_rate: one.over_rate + other.over_rate,
        lost: one.lost + other.lost,
    }
}

#[cfg(test)]
mod tests {
    use super::split;
    use monitor_common::capture::Head;
    use monitor_common::plain::Plain as _;

    #[test]
    fn a_record_is_its_head_and_as_much_of_the_frame_as_it_says() {
        let head = Head { captured: 3, length: 90, ..Head::zeroed() };
        let record = [head.as_bytes(), b"abc\0\0\0\0\0"].concat();
        assert_eq!(split(&record), Some((head, b"abc".as_slice())));
        assert_eq!(split(&record[..size_of::<Head>() + 2]), None);
        assert_eq!(split(b"short"), None);
    }
}
