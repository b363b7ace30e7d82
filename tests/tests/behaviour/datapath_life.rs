//! Loading, pinning, attaching and taking over, on veth pairs in namespaces of the test's own.

use std::{os::unix::fs::DirBuilderExt as _, thread, time::Duration};

use anyhow::{Context as _, Result};
use datapath::{Allowed, Capacities, Datapath, How, Mode, Options, TableFull, unload_pinned};
use monitor_common::{flow::BanKey, flow::mapped_halves, verdict::Reason};
use monitor_tests::{
    harness::{
        daemon::PATIENCE,
        network::{Network, Space, eventually},
        pins::{PinDirectory, enter, once_let_go},
        rules,
    },
    or_skip,
};

/// A guarded host and a peer, and where the host pins.
struct Place {
    network: Network,
    host: Space,
    peer: Space,
    pins: PinDirectory,
}

impl Place {
    /// The thread of the test moves into the host.
    fn new() -> Result<Self> {
        let mut network = Network::new()?;
        let (host, peer) = (network.space()?, network.space()?);
        let place = Self { network, host, peer, pins: PinDirectory::new()? };
        place.connect("guard0.1")?;
        enter(&place.host)?;
        Ok(place)
    }

    fn connect(&self, name: &str) -> Result<()> {
        self.network.link(&self.host, &self.peer, [(name, &["10.99.0.1/24"]), ("peer0", &["10.99.0.2/24"])])
    }

    fn options(&self) -> Options {
        Options { pin_directory: self.pins.path().to_owned(), ..Options::default() }
    }

    /// A daemon's start: open, write rules.
    fn start(&self) -> Result<Datapath> {
        self.start_with(Capacities::default())
    }

    fn start_with(&self, capacities: Capacities) -> Result<Datapath> {
        let options = Options { capacities, ..self.options() };
        let mut datapath = once_let_go(|| Datapath::open(&options))?;
        write_rules(&mut datapath)?;
        Ok(datapath)
    }

    /// How many of `count` pings the host answers.
    fn pings(&self, count: u32) -> Result<usize> {
        // It ends with the last answer, so patience costs nothing.
        self.pings_for(count, "20")
    }

    /// The same where an answer after so many seconds is none.
    fn pings_for(&self, count: u32, seconds: &str) -> Result<usize> {
        let count = count.to_string();
        let ping = ["-c", &count, "-i", "0.05", "-W", seconds, "10.99.0.1"];
        let output = self.peer.run_for(PATIENCE, "ping", &ping)?;
        Ok(String::from_utf8_lossy(&output.stdout).matches("bytes from").count())
    }
}

fn write_rules(datapath: &mut Datapath) -> Result<()> {
    rules::apply(datapath, "[default]\nmode = \"enforce\"\n[default.limit]\npackets = \"100k/s\"\n")
}

/// Runs a test in a place of its own, or says why it cannot.
fn with_place(name: &str, test: impl FnOnce(&Place) -> Result<()>) {
    let place = or_skip!(name, Place::new());
    if let Err(error) = test(&place) {
        panic!("{name}: {error:#}");
    }
}

/// Packets that a slot saw, whatever became of them.
fn packets(datapath: &Datapath, slot: u32) -> Result<u64> {
    let rows = datapath.counters()?.totals;
    let rows = rows.iter().filter(|row| row.slot == slot);
    Ok(rows.flat_map(|row| row.totals.ended).map(|count| count.packets).sum())
}

#[test]
fn a_restart_takes_the_guard_over_with_slot_and_counters_unbroken() {
    with_place("a restart takes the guard over with slot and counters unbroken", |place| {
        let mut first = place.start()?;
        let attached = first.attach("guard0.1", Allowed::Native)?;
        assert_eq!((attached.mode, attached.how, attached.alive), (Mode::Native, How::Attached, true));
        assert_eq!(place.pings(4)?, 4);
        let before = packets(&first, attached.slot)?;
        assert!(before >= 4, "{before} packets");
        // As in a crash: nothing is detached.
        drop(first);
        assert_eq!(place.pings(3)?, 3);

        // Under the rules that are there: new ones come later, when the daemon has no capability any more.
        let mut second = once_let_go(|| Datapath::open(&place.options()))?;
        assert_eq!(second.pinned_interfaces()?, ["guard0.1"]);
        assert!(second.status()?.resized.is_empty());
        let taken = second.attach("guard0.1", Allowed::Native)?;
        assert_eq!((taken.how, taken.slot), (How::TakenOver, attached.slot));
        let after = packets(&second, taken.slot)?;
        assert!(after >= before + 3, "{before} packets before, {after} after");
        assert_eq!(second.unload()?, ["guard0.1"]);
        assert!(!place.pins.path().exists());
        Ok(())
    });
}

#[test]
fn bans_hold_without_a_daemon_and_end_by_the_kernels_clock() {
    with_place("bans hold without a daemon and end by the kernels clock", |place| {
        let mut datapath = place.start()?;
        let slot = datapath.attach("guard0.1", Allowed::Native)?.slot;
        let [high, low] = mapped_halves([10, 99, 0, 2]);
        let now = datapath.clock().now();
        let until = now + datapath.clock().span(Duration::from_secs(6));
        datapath.bans()?.add(BanKey { high, low }, until, now, datapath.hash_key())?;
        drop(datapath);
        assert_eq!(place.pings_for(3, "0.3")?, 0);
        let over = || (place.pings_for(1, "0.3").ok()? == 1).then_some(());
        eventually("the ban ends", PATIENCE, over)?;
        assert_eq!(place.pings(3)?, 3);
        let mut again = place.start()?;
        again.attach("guard0.1", Allowed::Native)?;
        let banned = Reason::Banned as usize;
        let rows = again.counters()?.totals;
        let dropped: u64 =
            rows.iter().filter(|row| row.slot == slot).map(|row| row.totals.ended[banned].packets).sum();
        assert!(dropped >= 3, "{dropped} packets counted as banned");
        Ok(())
    });
}

#[test]
fn an_interface_that_was_recreated_is_guarded_again_under_its_slot() {
    with_place("an interface that was recreated is guarded again under its slot", |place| {
        let mut datapath = place.start()?;
        let before = datapath.attach("guard0.1", Allowed::Native)?;
        place.host.ip(&["link", "delete", "guard0.1"])?;
        place.connect("guard0.1")?;
        let gone = datapath.attachments()?;
        assert!(!gone[0].alive, "{gone:?}");
        let after = datapath.attach("guard0.1", Allowed::Native)?;
        assert_eq!((after.how, after.slot, after.alive), (How::Attached, before.slot, true));
        assert_ne!(after.ifindex, before.ifindex);
        Ok(())
    });
}

#[test]
fn other_capacities_keep_entries_and_totals() {
    with_place("other capacities keep entries and totals", |place| {
        let mut first = place.start()?;
        let slot = first.attach("guard0.1", Allowed::Native)?.slot;
        assert_eq!(place.pings(4)?, 4);
        let before = packets(&first, slot)?;
        let key = first.hash_key();
        drop(first);
        let capacities =
            Capacities { sources: 4096, services: 100, prefix_nodes: 50_000, ..Capacities::default() };
        let mut second = place.start_with(capacities)?;
        assert!(second.status()?.resized.contains(&"SOURCES"));
        assert_eq!(second.hash_key(), key);
        assert_eq!(second.attach("guard0.1", Allowed::Native)?.how, How::TakenOver);
        assert!(packets(&second, slot)? >= before);
        let sources = second.sources().read_all();
        assert!(
            sources
                .iter()
                .any(|(source, entry)| source.address()[12..] == [10, 99, 0, 2] && entry.total().packets >= 4)
        );
        assert_eq!(place.pings(3)?, 3);
        Ok(())
    });
}

#[test]
fn a_foreign_program_is_named_and_never_replaced() {
    with_place("a foreign program is named and never replaced", |place| {
        let mut owner = place.start()?;
        owner.attach("guard0.1", Allowed::Native)?;
        let other = PinDirectory::new()?;
        let mut intruder =
            Datapath::open(&Options { pin_directory: other.path().to_owned(), ..Options::default() })?;
        write_rules(&mut intruder)?;
        let refused =
            format!("{:#}", intruder.attach("guard0.1", Allowed::NativeOrGeneric).expect_err("it is taken"));
        assert!(refused.contains("sluice_ingress") && refused.contains("native mode"), "{refused}");
        assert!(owner.attachments()?[0].alive);
        Ok(())
    });
}

#[test]
fn what_cannot_be_attached_says_why() {
    with_place("what cannot be attached says why", |place| {
        let mut unready = Datapath::open(&place.options())?;
        let early = unready.attach("guard0.1", Allowed::Native).expect_err("no rules yet").to_string();
        assert!(early.contains("rules"), "{early}");
        drop(unready);
        let mut datapath = place.start()?;
        let missing = datapath.attach("guard0.2", Allowed::Native).expect_err("missing").to_string();
        assert!(missing.contains("guard0.1"), "{missing}");
        let native = datapath.attach("lo", Allowed::Native).expect_err("no native mode").to_string();
        assert!(native.contains("allow generic mode for lo"), "{native}");
        assert_eq!(datapath.attach("lo", Allowed::NativeOrGeneric)?.mode, Mode::Generic);
        place.host.ip(&["link", "set", "guard0.1", "mtu", "9000"])?;
        assert_eq!(datapath.attach("guard0.1", Allowed::Native)?.mode, Mode::Native);
        Ok(())
    });
}

#[test]
fn a_pin_directory_is_held_by_one_daemon_and_by_its_owner_alone() {
    with_place("a pin directory is held by one daemon and by its owner alone", |place| {
        let held = place.start()?;
        let second = format!("{:#}", Datapath::open(&place.options()).expect_err("it is held"));
        assert!(second.contains("another sluice daemon"), "{second}");
        assert!(unload_pinned(place.pins.path()).is_err());
        drop(held);
        let squatted = PinDirectory::new()?;
        std::fs::DirBuilder::new().mode(0o755).create(squatted.path())?;
        let options = Options { pin_directory: squatted.path().to_owned(), ..Options::default() };
        let refused = format!("{:#}", Datapath::open(&options).expect_err("it is open to others"));
        std::fs::remove_dir(squatted.path())?;
        assert!(refused.contains("mode 0700"), "{refused}");
        Ok(())
    });
}

#[test]
fn without_any_capability_maps_links_and_new_attachments_still_work() {
    with_place("without any capability maps links and new attachments still work", |place| {
        let mut datapath = place.start()?;
        datapath.attach("guard0.1", Allowed::Native)?;
        place.host.ip(&["link", "delete", "guard0.1"])?;
        place.connect("guard0.1")?;
        // On a thread of its own: capabilities belong to threads, and cleaning up needs them.
        let without = || -> Result<()> {
            monitor::daemon::privilege::drop_all()?;
            write_rules(&mut datapath)?;
            datapath.refresh_clock()?;
            datapath.beat()?;
            let attached = datapath.attach("guard0.1", Allowed::Native)?;
            assert_eq!((attached.how, attached.alive), (How::Attached, true));
            assert_eq!(datapath.attach("guard0.1", Allowed::Native)?.how, How::TakenOver);
            assert!(datapath.detach("guard0.1")?);
            Ok(())
        };
        thread::scope(|scope| scope.spawn(without).join()).expect("no assertion failed")?;
        Ok(())
    });
}

#[test]
fn a_full_ban_table_refuses_loudly() {
    with_place("a full ban table refuses loudly", |place| {
        let datapath = place.start_with(Capacities { bans: 16, ..Capacities::default() })?;
        let bans = datapath.bans()?;
        let refused = (0..64_u64)
            .find_map(|low| bans.add(BanKey { high: 0, low }, u64::MAX, 0, datapath.hash_key()).err());
        let refused = refused.context("64 bans fit a table of 16")?;
        assert_eq!(refused.downcast_ref::<TableFull>().map(|full| full.capacity), Some(16), "{refused:#}");
        assert_eq!(bans.list()?.len(), 16);
        Ok(())
    });
}
