//! The session of tuning: its records, the points of the plot, and the selected record. Measures, noise and verdicts
//! come from [`Analysis`].

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};
use softprefix_core::compare::{Measure, Verdict};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    Analysis, Comparison, Entry, Experiment, Group, GroupKey, MeasuredText, ModuleIdentity, Point, Record,
    SavedExperiment,
};

use crate::model::{Pane, RunId};

/// A session of tuning.
pub struct Tuning {
    /// The first id of its runs; those before were started in another session.
    pub(super) first_run: RunId,
    /// Whether its journal cannot be continued: the next run begins another session.
    pub(super) is_closed: bool,
    /// The experiment with its records; its id is empty until something was saved.
    pub saved: SavedExperiment,
    pub analysis: Analysis,
    /// What panes and plot show: a prompt with its settings on a module.
    pub shown_group: Option<GroupKey>,
    /// Ids of the records that were chosen for the plot; empty where it shows those of its prompt.
    pub(super) plotted: BTreeSet<String>,
    /// Id of the opened record; `None` shows the last one.
    pub selected_record: Option<String>,
    /// The run in the left pane in the baseline's place: its id, and how it is shown.
    pub(super) pinned: Option<(String, Pane)>,
    /// Id of the record that matches the controls, if it is not the last one.
    pub(super) record_at_controls: Option<String>,
    /// Index of each record.
    places: HashMap<String, usize>,
    /// Indices of the records that are points of the plot.
    visible: BTreeSet<usize>,
    /// The latest of them with a prefix and an output, by the digest of both.
    latest: HashMap<[u8; 32], usize>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self::new(SavedExperiment::new(Experiment {
            version: JOURNAL_VERSION,
            id: String::new(),
            name: String::new(),
            started_unix: 0.0,
            plan: None,
            module: ModuleIdentity::default(),
        }))
    }
}

impl Tuning {
    fn new(saved: SavedExperiment) -> Self {
        Self {
            first_run: RunId(0),
            is_closed: false,
            saved,
            analysis: Analysis::default(),
            shown_group: None,
            plotted: BTreeSet::new(),
            selected_record: None,
            pinned: None,
            record_at_controls: None,
            places: HashMap::new(),
            visible: BTreeSet::new(),
            latest: HashMap::new(),
        }
    }

    /// Opens a session of the library, and returns the comparisons to be made.
    pub(super) fn open(saved: SavedExperiment) -> (Self, Vec<Comparison>) {
        let mut out = Self::new(saved);
        let mut comparisons = Vec::new();
        for (place, record) in out.saved.records.iter().enumerate() {
            out.places.insert(record.id.clone(), place);
            comparisons.extend(out.analysis.note(record));
            if let Some(scores) = &record.scores {
                out.analysis.add_scores(&record.id, scores);
            }
        }
        out.shown_group = out.saved.undeleted().last().map(GroupKey::of);
        (out, comparisons)
    }

    /// Adds a finished run, and returns the comparisons to be made.
    pub(super) fn add(&mut self, record: Record) -> Vec<Comparison> {
        let comparisons = self.analysis.note(&record);
        self.places.insert(record.id.clone(), self.saved.records.len());
        self.saved.records.push(record);
        comparisons
    }

    /// Stores the measures of a record, which may become a point of the plot.
    pub(super) fn take(&mut self, measured: &MeasuredText) {
        self.analysis.take(measured.clone());
        if let Some(&place) = self.places.get(&measured.record) {
            self.see(place);
        }
    }

    /// Applies lines of its journal: a name, deletions, scores.
    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            if let Entry::Scored { record, scores } = &entry {
                self.analysis.add_scores(record, scores);
            }
            self.saved.add(entry);
        }
        self.refresh();
    }

    /// Recomputes the points of the plot.
    pub(super) fn refresh(&mut self) {
        self.visible.clear();
        self.latest.clear();
        for place in 0..self.saved.records.len() {
            self.see(place);
        }
        self.plotted.retain(|id| self.saved.is_undeleted(id));
        let is_gone = |id: &String| !self.saved.is_undeleted(id);
        if self.selected_record.as_ref().is_some_and(is_gone) {
            self.selected_record = None;
        }
        if self.pinned.as_ref().is_some_and(|(id, _)| is_gone(id)) {
            self.pinned = None;
        }
        if self
            .record_at_controls
            .as_ref()
            .is_some_and(|id| !self.saved.is_undeleted(id))
        {
            self.record_at_controls = None;
        }
    }

    /// Adds a record to the points of the plot if it is one.
    fn see(&mut self, place: usize) {
        let Some(record) = self.saved.records.get(place) else {
            return;
        };
        let (Some(prefix), true) = (&record.prefix, self.is_point(record)) else {
            return;
        };
        self.visible.insert(place);
        if prefix.sha256.is_empty() {
            return;
        }
        // The same prefix with the same output is the same point.
        let same = format!("{} {} {}", prefix.sha256, prefix.len, record.output());
        let latest = self.latest.entry(Sha256::digest(same).into()).or_insert(place);
        if *latest != place {
            self.visible.remove(&place.min(*latest));
            *latest = place.max(*latest);
        }
    }

    /// Returns whether a record is a point of the plot, unless a later one with the same prefix and output replaces it.
    fn is_point(&self, record: &Record) -> bool {
        self.saved.is_undeleted(&record.id)
            && record.is_complete()
            && !record.is_baseline()
            && self.analysis.find(&record.id).is_some_and(|(group, point)| {
                self.group().is_some_and(|shown| std::ptr::eq(shown, group)) && point.measures.is_some()
            })
    }

    /// Returns the ids of the records of the points, including those that are replaced by later ones.
    pub(super) fn ids_of_points(&self) -> Vec<String> {
        let of_points = self.saved.records.iter().filter(|record| self.is_point(record));
        of_points.map(|record| record.id.clone()).collect()
    }

    /// Returns the ids of this record and of those that its point replaces in the plot.
    pub(super) fn ids_of_point(&self, id: &str) -> Vec<String> {
        let Some(removed) = self.record(id) else {
            return Vec::new();
        };
        let same_rows = |record: &Record| match (&record.prefix, &removed.prefix) {
            (Some(prefix), Some(other)) => {
                !prefix.sha256.is_empty() && (&prefix.sha256, prefix.len) == (&other.sha256, other.len)
            }
            _ => false,
        };
        let is_same =
            |record: &&Record| same_rows(record) && record.output() == removed.output() && self.is_point(record);
        let replaced = self
            .saved
            .records
            .iter()
            .filter(|record| record.id != id)
            .filter(is_same);
        std::iter::once(id.to_owned())
            .chain(replaced.map(|record| record.id.clone()))
            .collect()
    }

    /// Returns a record by its id.
    pub fn record(&self, id: &str) -> Option<&Record> {
        self.saved.records.get(*self.places.get(id)?)
    }

    /// Returns the records of the plot with their points, in chronological order.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = (&Record, &Point)> {
        self.visible.iter().filter_map(|&place| {
            let record = self.saved.records.get(place)?;
            let (_, point) = self.analysis.find(&record.id)?;
            Some((record, point))
        })
    }

    /// Returns the number of records that were chosen for the plot; `None` if it shows those of its prompt.
    pub fn chosen(&self) -> Option<usize> {
        (!self.plotted.is_empty()).then_some(self.plotted.len())
    }

    /// Returns the records of the plot: those that were chosen for it, of any prompt, each measured against its own baseline; otherwise those
    /// of the shown prompt.
    pub fn plotted(&self) -> Vec<(&Record, &Point)> {
        if self.plotted.is_empty() {
            return self.points().collect();
        }
        let chosen = self.plotted.iter().filter_map(|id| {
            let (_, point) = self.analysis.find(id)?;
            Some((self.record(id)?, point))
        });
        chosen.filter(|(record, _)| !record.is_baseline()).collect()
    }

    /// Returns the record in the right pane: the selected one, that of the controls, or the last of the plot.
    pub fn current(&self) -> Option<(&Record, &Point)> {
        match self.selected_record.as_ref().or(self.record_at_controls.as_ref()) {
            Some(id) => {
                let (_, point) = self.analysis.find(id)?;
                Some((self.record(id)?, point))
            }
            None => self.points().next_back(),
        }
    }

    /// Returns the run that is shown in the baseline's place.
    pub fn pinned(&self) -> Option<&Record> {
        let (id, _) = self.pinned.as_ref()?;
        self.record(id)
    }

    /// Returns the analysis of the shown group.
    pub fn group(&self) -> Option<&Group> {
        self.analysis.group(self.shown_group.as_ref()?)
    }

    /// Returns the baseline of the shown group.
    pub fn baseline(&self) -> Option<&Record> {
        self.record(&self.group()?.baseline.as_ref()?.record)
    }

    /// Returns the number of complete baseline runs of a group.
    pub(super) fn baselines(&self, key: &GroupKey) -> usize {
        let points = self.analysis.group(key).map(|group| group.points.as_slice());
        let points = points.unwrap_or_default();
        points
            .iter()
            .filter(|point| point.series.is_none() && point.is_complete && self.saved.is_undeleted(&point.record))
            .count()
    }

    /// Returns whether an output is a loop and its baseline is not.
    pub fn is_loop(&self, point: &Point) -> bool {
        let found = self.analysis.find(&point.record);
        found.is_some_and(|(group, point)| group.verdict(point) == Verdict::Loop)
    }

    /// Returns the noise floor of the shown group in the units of a measure; `None` if two baselines were equal or only
    /// one was run.
    pub fn noise_floor(&self, measure: Measure) -> Option<f64> {
        let group = self.group().filter(|group| !group.is_deterministic())?;
        group.noise_floor(measure)
    }

    /// Returns the smallest magnitude on the x axis from which on all outputs are loops.
    pub fn collapse_from(&self) -> Option<f64> {
        let mut points: Vec<(f64, bool)> = self
            .points()
            .map(|(_, point)| (point.magnitude(), self.is_loop(point)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
            .iter()
            .rev()
            .take_while(|(_, is_loop)| *is_loop)
            .last()
            .map(|&(x, _)| x)
    }

    /// Returns the points in an order that does not depend on the time of the runs, for recordings.
    pub(super) fn placed(&self) -> Vec<&Record> {
        let mut points: Vec<(&Record, &Point)> = self.points().collect();
        points.sort_by(|(a, x), (b, y)| {
            let len = |record: &Record| record.prefix.as_ref().map_or(0, |prefix| prefix.len);
            let by_size = len(a).cmp(&len(b)).then(x.magnitude().total_cmp(&y.magnitude()));
            by_size.then_with(|| (&x.sha256, a.output()).cmp(&(&y.sha256, b.output())))
        });
        points.into_iter().map(|(record, _)| record).collect()
    }

    /// Returns whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.saved.undeleted().next().is_none()
    }
}
