//! The reference programs and the wrapper that varies sources: loaded from their own object, run by test runs.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramInfo, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use monitor_tests::harness::traffic;

/// Which sources a run sends from.
#[derive(Clone, Copy, Debug)]
pub struct Vary {
    /// Where in the frame the varied word begins.
    pub offset: u64,
    /// A power of two less one: how many sources.
    pub mask: u64,
    /// The first source.
    pub base: u64,
    /// The word has eight bytes instead of four.
    pub wide: bool,
}

/// The loaded reference programs.
pub struct Reference {
    ebpf: Ebpf,
}

impl Reference {
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(traffic::object()?).context("load the reference programs")?;
        let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let program: &mut Xdp = ebpf.program_mut(&name).context("listed above")?.try_into()?;
            datapath::uninterrupted(|| program.load())
                .with_context(|| format!("load reference program {name}"))?;
        }
        Ok(Self { ebpf })
    }

    /// Puts a reference program behind the wrapper.
    pub fn aim_at(&mut self, name: &str) -> Result<()> {
        let program: &Xdp =
            self.ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?;
        let fd = program.fd()?.try_clone()?;
        self.target(&fd)
    }

    /// Puts a pinned program of sluice behind the wrapper.
    pub fn aim_at_pinned(&mut self, pin: &Path) -> Result<()> {
        let program = ProgramInfo::from_pin(pin).with_context(|| format!("open {}", pin.display()))?;
        let fd = program.fd()?;
        self.target(&fd)
    }

    fn target(&mut self, fd: &aya::programs::ProgramFd) -> Result<()> {
        let mut target = ProgramArray::try_from(self.ebpf.map_mut("TARGET").context("map TARGET")?)?;
        target.set(0, fd, 0).context("put the program behind the wrapper")
    }

    /// Says which sources the wrapper writes.
    pub fn vary(&mut self, vary: Vary) -> Result<()> {
        let mut map: Array<_, [u64; 4]> = Array::try_from(self.ebpf.map_mut("VARY").context("map VARY")?)?;
        map.set(0, [vary.offset, vary.mask, vary.base, u64::from(vary.wide)], 0)?;
        Ok(())
    }

    /// Runs `frame` `repeat` times through the wrapper; nanoseconds per run.
    pub fn run(&mut self, frame: &[u8], repeat: u32) -> Result<f64> {
        let program: &Xdp = self.ebpf.program("vary").context("program vary")?.try_into()?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = program.test_run(options).context("test run")?;
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one run")]
        Ok(result.duration.as_nanos() as f64)
    }
}
