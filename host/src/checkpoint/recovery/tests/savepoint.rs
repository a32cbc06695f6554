use super::*;

/// The running job, asked to start from a savepoint of an earlier run at older positions.
fn from_savepoint(change: impl FnOnce(&mut SavepointFact)) -> Facts {
    let mut held = checkpoint();
    held.manifest.run = "earlier".into();
    held.manifest.splits.iter_mut().for_each(|split| split.next -= 50);
    let mut savepoint = SavepointFact { id: "s".into(), checkpoint: held, allow_non_restored: false };
    change(&mut savepoint);
    with(running(), |facts| facts.savepoint = Some(savepoint))
}

/// The same, where a manifest of a format says what the run began from.
fn committed(format: u32, began_from: Option<&str>) -> Facts {
    with(from_savepoint(|_| {}), |facts| {
        let mut found = checkpoint();
        (found.manifest.format, found.manifest.began_from) = (format, began_from.map(str::to_owned));
        facts.manifests = [(NAME.to_owned(), ManifestFact::Found(Box::new(found)))].into();
    })
}

fn marker(run: &str, savepoint: Option<&str>) -> Option<RunMarker> {
    let mut marker = RunMarker::new(run, "count-words", 0);
    marker.savepoint = savepoint.map(str::to_owned);
    Some(marker)
}

#[test]
fn rule_15_a_start_from_a_savepoint_is_a_new_run_or_refused() {
    let savepoint: fn(&Refusal) -> bool = |refusal| matches!(refusal, Refusal::Savepoint { .. });
    let rows = vec![
        ("while another run is committed", from_savepoint(|_| {}), From(&[50, 150], 0)),
        (
            "where nothing is committed",
            Facts { splits: never_started().splits, marker: None, ..from_savepoint(|_| {}) },
            From(&[50, 150], 0),
        ),
        (
            "where a run is committed whose store is not there",
            with(from_savepoint(|_| {}), |facts| (facts.marker, facts.manifests) = (None, BTreeMap::new())),
            Refuse(savepoint, "epoch 7 of run r is committed"),
        ),
        (
            "where a run is committed whose store is not there, but an older marker",
            with(from_savepoint(|_| {}), |facts| (facts.marker, facts.manifests) = (marker("old", None), BTreeMap::new())),
            Refuse(savepoint, "does not say how it began"),
        ),
        (
            "where a run is committed whose marker is lost, and whose manifest does not know yet how it began",
            with(committed(3, None), |facts| facts.marker = None),
            Refuse(savepoint, "does not say how it began"),
        ),
        (
            "the same with another run's marker",
            with(committed(3, None), |facts| facts.marker = marker("old", Some("s"))),
            Refuse(savepoint, "does not say how it began"),
        ),
        (
            "where a run is committed whose marker is lost, and whose manifest says that it began otherwise",
            with(committed(4, Some("another")), |facts| facts.marker = None),
            From(&[50, 150], 0),
        ),
        (
            "once its run has begun, that run goes on, as its manifest says, without a marker",
            with(committed(4, Some("s")), |facts| facts.marker = None),
            Resumes(7, true, &[100, 200]),
        ),
        (
            "the same with the marker of another run, which began otherwise",
            with(committed(4, Some("s")), |facts| facts.marker = marker("old", Some("another"))),
            Resumes(7, true, &[100, 200]),
        ),
        (
            "another run's marker says nothing of a run that is committed",
            with(committed(4, None), |facts| facts.marker = marker("old", Some("s"))),
            From(&[50, 150], 0),
        ),
        (
            "where a run is committed whose store is not there, but anew",
            with(from_savepoint(|_| {}), |facts| (facts.marker, facts.manifests, facts.fresh) = (None, BTreeMap::new(), true)),
            From(&[50, 150], 0),
        ),
        (
            "after a crash between the very first commit, which is this savepoint's, and the marker",
            with(from_savepoint(|s| s.checkpoint.manifest.epoch = 6), |facts| {
                facts.marker = None;
                let mut begun = checkpoint();
                (begun.manifest.format, begun.manifest.forgotten_until) = (3, 7);
                facts.manifests = [(NAME.to_owned(), ManifestFact::Found(Box::new(begun)))].into();
            }),
            From(&[50, 150], 0),
        ),
        (
            "while a run is committed that began from another",
            with(from_savepoint(|_| {}), |facts| facts.marker = marker("r", Some("another"))),
            From(&[50, 150], 0),
        ),
        (
            "once its run has begun, that run goes on",
            with(from_savepoint(|_| {}), |facts| facts.marker = marker("r", Some("s"))),
            Resumes(7, true, &[100, 200]),
        ),
        (
            "once its run has begun, but anew",
            with(from_savepoint(|_| {}), |facts| (facts.marker, facts.fresh) = (marker("r", Some("s")), true)),
            From(&[50, 150], 0),
        ),
        (
            "rule 16: a partition that the savepoint does not know",
            with(from_savepoint(|_| {}), |facts| facts.splits.push(kafka(2, 0, commit()))),
            From(&[50, 150, 10], 0),
        ),
        (
            "the job has no such operator",
            with(from_savepoint(|_| {}), |facts| facts.expected.operators.clear()),
            Refuse(savepoint, "operator count has state"),
        ),
        (
            "the job has no such operator, and its state may go",
            with(from_savepoint(|s| s.allow_non_restored = true), |facts| facts.expected.operators.clear()),
            From(&[50, 150], 1),
        ),
        (
            "a state is not declared any more",
            with(from_savepoint(|_| {}), |facts| facts.expected.operators = vec![with_states(&[])]),
            Refuse(savepoint, "--allow-non-restored-state leaves it behind"),
        ),
        (
            "a state is not declared any more, and may go",
            with(from_savepoint(|s| s.allow_non_restored = true), |facts| facts.expected.operators = vec![with_states(&[])]),
            From(&[50, 150], 1),
        ),
        (
            "a version that was raised is refused even if states may go",
            with(from_savepoint(|s| s.allow_non_restored = true), |facts| {
                facts.expected.operators = vec![with_states(&[("n", StateKind::Value, 2)])];
            }),
            Refuse(savepoint, "version 2"),
        ),
        ("other shards", from_savepoint(|s| s.checkpoint.manifest.shards = 8), Refuse(savepoint, "8 shards")),
        ("a partition is gone", with(from_savepoint(|_| {}), |facts| drop(facts.splits.pop())), Refuse(savepoint, "words[1] of source in")),
        (
            "a partition is gone, and its position may go",
            with(from_savepoint(|s| s.allow_non_restored = true), |facts| drop(facts.splits.pop())),
            From(&[50], 1),
        ),
        ("retention took records since", with(from_savepoint(|_| {}), |facts| facts.splits[0].start = 51), Refuse(savepoint, "offset 50")),
    ];
    check(rows);
}
