//! What goes wrong, and when: at the k-th call of a command, or with a probability from a seed.

use std::collections::BTreeMap;

/// A command, as far as faults tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `sbatch`, without `--test-only`.
    Sbatch,
    /// `squeue`.
    Squeue,
    /// `sacct`.
    Sacct,
    /// `scancel`.
    Scancel,
    /// `scontrol`.
    Scontrol,
    /// `sinfo`.
    Sinfo,
    /// Anything else: scripts of ours that read and write files.
    Other,
}

impl Kind {
    /// By the program's name.
    pub(super) fn of(program: &str) -> Kind {
        match program.rsplit('/').next().unwrap_or_default() {
            "sbatch" => Kind::Sbatch,
            "squeue" => Kind::Squeue,
            "sacct" => Kind::Sacct,
            "scancel" => Kind::Scancel,
            "scontrol" => Kind::Scontrol,
            "sinfo" => Kind::Sinfo,
            _ => Kind::Other,
        }
    }
}

/// What goes wrong with one call. `after`: the command has done its work, only its answer is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The place can't be reached; nothing is done.
    Unreachable,
    /// The command's time runs out.
    TimedOut {
        /// It has done its work.
        after: bool,
    },
    /// The connection breaks.
    Interrupted {
        /// It has done its work.
        after: bool,
    },
    /// The answer never comes: whoever waits for it is to be killed. [`super::FakeSlurm::hung`] tells when.
    Hung {
        /// It has done its work.
        after: bool,
    },
    /// `Socket timed out on send/recv operation`: the controller was too slow to answer.
    SlowController {
        /// It has done its work.
        after: bool,
    },
    /// `Unable to contact slurm controller (connect failure)`.
    NoController,
    /// It fails with these words on standard error.
    Says(i32, String),
    /// It ends well and prints nothing: a queue that is suddenly empty.
    Silent,
    /// It ends well, and its output is cut in the middle.
    Cut,
    /// The command's time runs out, and so many seconds later its work is done all the same: it was on its way.
    Delayed(u32),
    /// squeue and sacct show the cluster as it was so many seconds ago; otherwise nothing.
    Stale(u32),
}

impl Fault {
    /// The command does its work all the same.
    pub(super) fn works(&self) -> bool {
        match self {
            Fault::TimedOut { after }
            | Fault::Interrupted { after }
            | Fault::Hung { after }
            | Fault::SlowController { after } => *after,
            Fault::Unreachable | Fault::NoController | Fault::Says(..) | Fault::Delayed(_) => false,
            Fault::Silent | Fault::Cut | Fault::Stale(_) => true,
        }
    }
}

/// A generator of random numbers that gives the same for the same seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).unwrap_or(0)
    }

    /// True so often.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.roll() >> 11) as f64 / (1u64 << 53) as f64) < probability
    }
}

/// The faults that are to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    calls: BTreeMap<Kind, u64>,
    planned: BTreeMap<(Kind, u64), Fault>,
    dice: Option<Dice>,
    random: Vec<(Kind, f64, Fault)>,
}

impl Faults {
    pub(super) fn calls(&self, kind: Kind) -> u64 {
        self.calls.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn plan(&mut self, kind: Kind, ahead: u64, fault: Fault) {
        let call = self.calls(kind) + ahead.max(1);
        self.planned.insert((kind, call), fault);
    }

    pub(super) fn random(&mut self, seed: u64, faults: Vec<(Kind, f64, Fault)>) {
        self.dice = Some(Dice::new(seed));
        self.random = faults;
    }

    pub(super) fn clear(&mut self) {
        self.planned.clear();
        self.dice = None;
    }

    /// Counts a call, and says what goes wrong with it.
    pub(super) fn next(&mut self, kind: Kind) -> Option<Fault> {
        let call = self.calls.entry(kind).or_insert(0);
        *call += 1;
        if let Some(fault) = self.planned.remove(&(kind, *call)) {
            return Some(fault);
        }
        let dice = self.dice.as_mut()?;
        self.random
            .iter()
            .filter(|(of, ..)| *of == kind)
            .find(|(_, probability, _)| dice.chance(*probability))
            .map(|(.., fault)| fault.clone())
    }
}
