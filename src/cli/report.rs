//! How runs stand, as the terminal shows it: the renderers of a [`RunReport`] beside JSON.

use crate::cli::run::{SUPERSEDED, limit_line, rejected_sources_line};
use crate::cli::show;
use crate::input::storage::ObjectUri;
use crate::output::Trouble;
use crate::output::current_rows::how_to_accept;
use crate::output::report::{CommitPace, RunPhase, RunReport};
use crate::vocabulary::time::Timestamp;

/// Renders a run as `tilefleet status` shows it: how far it has got, and how fast.
pub fn progress(report: &RunReport, output: &ObjectUri) -> String {
    let head = head(report);
    let state = match report.state {
        RunPhase::Deleted | RunPhase::Planning => return format!("{head}  {}", unplanned(report)),
        RunPhase::Complete => complete(report),
        RunPhase::Open => "open",
    };
    let committed = [
        show::counted_of(report.committed.into(), report.shards.into(), "shard"),
        show::counted_of(report.tiles_committed, report.tiles, "tile"),
        show::bytes(report.bytes),
    ];
    let mut lines = vec![format!("{head}  {state}: {}", committed.join(", "))];
    lines.extend(limit_line(report.limit, report.rest_is_open));
    if report.superseded {
        lines.push(SUPERSEDED.to_owned());
    } else if !report.accepted {
        let how = how_to_accept(output, &report.run_id);
        let why = format!("too many rejects, so `tiles` does not show it; {how}");
        lines.push(show::hanging(&why, 2));
    }
    lines.extend(pace(report));
    lines.join("\n  ")
}

/// Requests that take longer are worth a word.
const SLOW_REQUEST_SECONDS: f64 = 1.0;

/// Renders who works on an open run, and what may be wrong with it, line by line.
pub fn trouble(trouble: &Trouble, now: Timestamp) -> Vec<String> {
    let Trouble { workers, begun, shard_seconds, request_seconds, sources_in_vain } = trouble;
    let usually =
        shard_seconds.map_or_else(String::new, |took| format!(", a shard takes {}", show::seconds(took)));
    let mut lines = vec![format!("{} seen of late{usually}", show::counted(workers.len() as u64, "worker"))];
    for shard in begun.iter().filter(|shard| shard.late || shard.begun > 1) {
        let times = if shard.begun > 1 { format!(" {} times, first", shard.begun) } else { String::new() };
        let since = show::seconds(now.since(shard.since).as_secs_f64());
        lines.push(format!("shard {}: begun{times} {since} ago, and not committed", shard.shard));
    }
    if let Some(seconds) = request_seconds.filter(|seconds| *seconds > SLOW_REQUEST_SECONDS) {
        lines.push(format!("the store of its sources is slow: a request takes {}", show::seconds(seconds)));
    }
    if *sources_in_vain > 0 {
        let sources = show::counted(*sources_in_vain, "source");
        lines.push(format!("{sources} could not be read so far, and will be tried again"));
    }
    lines
}

/// Renders a run as `tilefleet runs` lists it: what it is and what came out.
pub fn listing(report: &RunReport) -> String {
    let head = head(report);
    let state = match report.state {
        RunPhase::Deleted | RunPhase::Planning => return format!("{head}  {}", unplanned(report)),
        RunPhase::Complete => complete(report).to_owned(),
        RunPhase::Open => format!("open, {}", show::counted_of(report.files, report.shards.into(), "shard")),
    };
    let planned_at = report.planned_at.map(|at| format!(", planned {}", at.to_the_second()));
    let model = report.model.as_ref().map(|model| format!(", {model}"));
    let more = planned_at.into_iter().chain(model).collect::<String>();
    let mut lines = vec![format!("{head}  {state}{more}"), outcomes(report)];
    lines.extend(rejected_sources_line(report.rejected_sources, report.sources));
    lines.extend(limit_line(report.limit, report.rest_is_open));
    lines.join("\n  ")
}

/// Says why a listed run is not current, and how to change that.
pub fn why_not_current(report: &RunReport, output: &ObjectUri) -> Option<String> {
    if report.superseded {
        return Some(SUPERSEDED.to_owned());
    }
    (!report.accepted).then(|| format!("not shown in `tiles`; {}", how_to_accept(output, &report.run_id)))
}

fn head(report: &RunReport) -> String {
    format!("{}{}", report.run_id, show::origin(&report.origin))
}

fn complete(report: &RunReport) -> &'static str {
    if report.accepted { "complete" } else { "complete, not accepted" }
}

fn unplanned(report: &RunReport) -> String {
    if report.state == RunPhase::Planning {
        return "being planned: its plan is not complete".to_owned();
    }
    match report.left_of_deleted {
        None | Some(0) => "deleted".to_owned(),
        Some(left) => {
            let left = show::counted(left, "object");
            format!("deleted, but {left} of it left; delete it again to remove them")
        }
    }
}

fn outcomes(report: &RunReport) -> String {
    let counts = report.counts.clone().unwrap_or_default();
    format!(
        "{}: {} ok, {} skipped, {} rejected; {}, {}",
        show::counted(report.tiles, "tile"),
        show::count(counts.ok),
        show::count(counts.skipped),
        show::count(counts.rejected),
        show::counted(report.files, "file"),
        show::bytes(report.bytes)
    )
}

/// Says how fast an open run gets on.
fn pace(report: &RunReport) -> Option<String> {
    let CommitPace { tiles_per_second, seconds_left, seconds_without_commit, stalled } = report.pace;
    let without_commit = show::seconds(seconds_without_commit?);
    if stalled {
        return Some(format!("no progress for {without_commit}: is a worker running?"));
    }
    if report.committed == 0 {
        return Some(format!("nothing committed yet; planned {without_commit} ago"));
    }
    let rate = tiles_per_second.map(|rate| format!("{rate:.1} tiles/s"));
    let left = seconds_left.map(|left| format!("{} left", show::seconds(left)));
    let last = format!("last commit {without_commit} ago");
    Some(rate.into_iter().chain(left).chain([last]).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Origin, RunId};
    use crate::vocabulary::outcome::Counts;

    const PHASES: [RunPhase; 4] = [RunPhase::Complete, RunPhase::Open, RunPhase::Planning, RunPhase::Deleted];

    fn example(phase: RunPhase) -> RunReport {
        RunReport::begin(&RunId::parse("photos-0123abcd-0007").unwrap(), &Origin::default(), phase)
    }

    fn uri() -> ObjectUri {
        ObjectUri::parse("s3://tables/photos").unwrap()
    }

    /// What each renderer owes its reader, whatever the run: which it is, how far it has got, and nothing unfinished.
    fn check(name: &str, render: impl Fn(&RunReport) -> String) {
        for phase in PHASES {
            let text = render(&example(phase));
            let word = if phase == RunPhase::Planning { "being planned" } else { phase.name() };
            assert!(text.starts_with("photos-0123abcd-0007  ") && text.contains(word), "{name}: {text}");
            assert!(text.lines().all(|line| line.trim_end() == line), "{name}: {text}");
        }
        let refused = RunReport { accepted: false, ..example(RunPhase::Complete) };
        assert!(render(&refused).contains("complete, not accepted"), "{name}");
        let left = RunReport { left_of_deleted: Some(2), ..example(RunPhase::Deleted) };
        assert!(render(&left).contains("2 objects of it left"), "{name}");
    }

    #[test]
    fn every_renderer_says_what_a_run_is_and_how_far_it_has_got() {
        check("progress", |report| progress(report, &uri()));
        check("listing", listing);
    }

    #[test]
    fn an_open_run_shows_its_pace() {
        let pace = CommitPace {
            tiles_per_second: Some(12.34),
            seconds_left: Some(60.0),
            seconds_without_commit: Some(2.0),
            stalled: false,
        };
        let open = RunReport { committed: 1, shards: 3, pace, ..example(RunPhase::Open) };
        let text = progress(&open, &uri());
        assert!(text.contains("12.3 tiles/s") && text.contains("1 of 3 shards"), "{text}");
        let mut stalled = open.clone();
        stalled.pace.stalled = true;
        assert!(progress(&stalled, &uri()).contains("is a worker running?"));
        let none = RunReport { committed: 0, ..open };
        assert!(progress(&none, &uri()).contains("nothing committed yet"));
    }

    #[test]
    fn a_listed_run_says_what_came_out() {
        let counts = Counts { ok: 7, rejected: 1, ..Counts::default() };
        let open = RunReport { tiles: 8, counts: Some(counts), ..example(RunPhase::Complete) };
        assert!(listing(&open).contains("8 tiles: 7 ok, 0 skipped, 1 rejected"), "{}", listing(&open));
        assert_eq!(why_not_current(&open, &uri()), None);
        let refused = RunReport { accepted: false, ..open };
        assert!(why_not_current(&refused, &uri()).unwrap().contains("runs s3://tables/photos accept"));
    }
}
