//! Grids on the command line: which members, what they would be, and merging them.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use growmerge::checkpoint::Place;
use growmerge::glob;
use growmerge::plan::{Library, Plan, PlanOptions, ToFetch};
use growmerge::problem::{Error, Gathering, Problem, Problems, nearest};
use growmerge::recipe::{Contents, Grid, Member, Reading};
use serde_json::json;

use super::device::Work;
use super::merge::{self, Merged};
use super::plan::{self, Shown};
use super::{Outcome, size, table::table};

/// Which members of a grid
#[derive(clap::Args)]
pub(super) struct Only {
    /// Of a grid, only members whose name matches: `*` stands for any characters, `?` for one; again for
    /// more
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
}

impl Only {
    /// Of a recipe that is no grid.
    pub(super) fn refuse(&self) -> Result<(), Problems> {
        match self.only.is_empty() {
            true => Ok(()),
            false => Err(Problem::error("--only", "the recipe is no grid")
                .hint("a grid is a recipe with a `matrix:`")
                .into()),
        }
    }

    /// The members that were asked for, in the order of the grid.
    pub(super) fn members<'g>(&self, grid: &'g Grid) -> Result<Vec<&'g Member>, Problems> {
        let mut problems = Problems::new();
        for pattern in &self.only {
            if !grid.members.iter().any(|m| glob::matches(pattern, &m.name)) {
                let problem = Problem::error("--only", format!("no member is called `{pattern}`"));
                let near = nearest(pattern, grid.members.iter().map(|m| m.name.as_str()));
                let first = grid.members.first().map_or("", |m| m.name.as_str());
                problems.push(problem.hint(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the first of {} is called `{first}`", grid.members.len()),
                }));
            }
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let asked = |m: &&Member| {
            self.only.is_empty() || self.only.iter().any(|pattern| glob::matches(pattern, &m.name))
        };
        Ok(grid.members.iter().filter(asked).collect())
    }

    /// The one member that was asked for.
    pub(super) fn single<'g>(&self, grid: &'g Grid) -> Result<&'g Member, Problems> {
        match self.members(grid)?[..] {
            [member] => Ok(member),
            ref several => {
                let what = match self.only.is_empty() {
                    true => format!("is a grid of {} recipes", grid.members.len()),
                    false => format!("--only takes {} recipes of this grid", several.len()),
                };
                Err(Problem::error(&grid.file, what).hint("choose a single one with --only").into())
            }
        }
    }
}

/// The recipe of a file, or of the one member of a grid that was asked for.
pub(super) fn single(path: &Path, only: &Only) -> Result<Reading, Error> {
    match Contents::from_file(path)? {
        Contents::Grid(grid) => Ok(only.single(&grid)?.reading.clone()),
        Contents::Recipe(reading) => {
            only.refuse()?;
            Ok(reading)
        }
    }
}

/// Plans members, one at a time, and shows each to `see`; what is wrong with any of them comes back together.
fn check<'g>(
    members: &[&'g Member],
    options: &PlanOptions,
    library: &mut Library,
    mut see: impl FnMut(&'g Member, &Plan),
) -> Result<Problems, Problems> {
    let mut gathering = Gathering::new(members.len());
    for member in members {
        match Plan::from_reading_with(member.reading.clone(), options, library) {
            Ok(plan) => {
                gathering.add(&member.name, &plan.warnings);
                see(member, &plan);
            }
            Err(problems) => gathering.add(&member.name, &problems),
        }
    }
    let problems = gathering.problems();
    if problems.has_errors() { Err(problems) } else { Ok(problems) }
}

/// The members of a grid, or the plan of the only one that was asked for.
pub(super) fn plan(args: &plan::Args, grid: &Grid) -> Result<Shown, Error> {
    let (members, options) = (args.only.members(grid)?, args.options.plan_options());
    let mut library = args.elsewhere.library_of(&args.recipe, members.iter().map(|m| &m.reading))?;
    if let [member] = members[..] {
        let plan = Plan::from_reading_with(member.reading.clone(), &options, &mut library)?;
        return Ok(Shown::Plan(Box::new(plan)));
    }
    let (mut rows, mut list, mut total) = (Vec::new(), Vec::new(), 0);
    let mut away: Vec<Place> = Vec::new();
    let warnings = check(&members, &options, &mut library, |member, plan| {
        let of_base = |base: bool| {
            let inputs = plan.models().enumerate().filter(move |(i, _)| (plan.base == Some(*i)) == base);
            inputs.map(|(_, input)| input.name()).collect::<Vec<_>>()
        };
        let mut models = of_base(false).join(", ");
        models.extend(of_base(true).iter().map(|base| format!("; base {base}")));
        rows.push(vec![
            member.name.clone(),
            plan.method.name.into(),
            size::show(plan.output_bytes()),
            models,
        ]);
        list.push(json!({
            "name": member.name, "method": plan.method.name, "models": of_base(false), "base": of_base(true).first(),
            "parameters": plan.parameters(), "bytes": plan.output_bytes(), "digest": plan.digest,
        }));
        total += plan.output_bytes();
        for place in plan.away() {
            if !away.contains(place) {
                away.push(place.clone());
            }
        }
    })?;
    let to_fetch = ToFetch::of(&away.iter().collect::<Vec<_>>());
    let mut text = table(&["name", "method", ">output", "models"], &rows);
    text += &format!("\n{} members, {} in all\n", members.len(), size::show(total));
    text += &to_fetch.map(|fetch| format!("{fetch}\n")).unwrap_or_default();
    let json = json!({ "members": list, "bytes": total, "to_fetch": to_fetch, "problems": warnings });
    Ok(Shown::Grid { text, json, warnings })
}

/// How a member ended.
enum Ended {
    Merged,
    Complete,
    Failed(Error),
}

/// Merges members into folders of their names; one that fails does not keep the others from being merged, but
/// a failing machine does.
pub(super) fn merge(args: &merge::Args, grid: &Grid) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    if !args.keep.is_empty() {
        return Err(Error::from(Problem::error("--keep", "a grid has no stages")).into());
    }
    let (members, options) = (args.only.members(grid).map_err(Error::from)?, args.options.plan_options());
    let mut library = args.elsewhere.library_of(&args.recipe, members.iter().map(|m| &m.reading))?;
    let mut order: Vec<(Vec<String>, &Member)> = Vec::new();
    let mut work = Work { read: 0, inputs: 0 };
    let warnings = check(&members, &options, &mut library, |member, plan| {
        work = work.and(Work::of(plan));
        order.push((plan.inputs.iter().map(|i| i.name().to_owned()).collect(), member));
    })
    .map_err(Error::from)?;
    if !args.silent() && !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    refuse_existing(args, &members).map_err(Error::from)?;
    // Neighbours read the same files, which are in memory then.
    for (inputs, _) in &mut order {
        inputs.sort();
    }
    order.sort_by(|a, b| a.0.cmp(&b.0));
    let machine = args.device.open(args.silent(), work)?;
    let cancel = merge::cancel_on_signal()?;
    let mut ended: Vec<(&Member, Ended)> = Vec::new();
    let mut records = Vec::new();
    for (i, (_, member)) in order.iter().enumerate() {
        let out = args.out.join(&member.name);
        // The checkpoints are open already, so this is quick, and plans need not be kept.
        let result = Plan::from_reading_with(member.reading.clone(), &options, &mut library)
            .map_err(Error::from)
            .and_then(|plan| Ok((merge::write(args, &machine, &plan, &out, &cancel)?, plan)));
        let end = match result {
            Ok((Merged::Now(done), plan)) => {
                if !args.silent() {
                    super::print(&format!("{}/{}: {}", i + 1, order.len(), done.describe(&plan, &out)))?;
                }
                records.push(done.json(&plan, &out));
                Ended::Merged
            }
            Ok((Merged::Before, _)) => Ended::Complete,
            Err(error) => {
                eprintln!("{}: {error}", member.name);
                Ended::Failed(error)
            }
        };
        let stop = matches!(end, Ended::Failed(Error::Exec(_))) || cancel.load(Ordering::Relaxed);
        ended.push((member, end));
        if stop {
            break;
        }
    }
    let count = |is: fn(&Ended) -> bool| ended.iter().filter(|(_, end)| is(end)).count();
    let (merged, complete) = (count(|e| matches!(e, Ended::Merged)), count(|e| matches!(e, Ended::Complete)));
    let failed: Vec<&str> = ended
        .iter()
        .filter(|(_, end)| matches!(end, Ended::Failed(_)))
        .map(|(member, _)| member.name.as_str())
        .collect();
    let left = order.len() - ended.len();
    if args.json {
        super::print_json(&json!({
            "out": args.out, "merged": records, "complete": complete, "failed": failed, "left": left,
            "seconds": started.elapsed().as_secs_f64(),
        }))?;
    } else if !args.quiet {
        let mut said = vec![format!("{merged} merged")];
        said.extend((complete > 0).then(|| format!("{complete} complete already")));
        said.extend((!failed.is_empty()).then(|| format!("{} failed ({})", failed.len(), failed.join(", "))));
        said.extend((left > 0).then(|| format!("{left} left")));
        let seconds = started.elapsed().as_secs_f64();
        super::print(&format!("{}: {}, {seconds:.2} s\n", args.out.display(), said.join(", ")))?;
    }
    let worst = ended.into_iter().filter_map(|(_, end)| match end {
        Ended::Failed(error) => Some(error.exit_code()),
        _ => None,
    });
    Ok(worst.max().map_or(Outcome::Done, Outcome::Failed))
}

/// Folders that are in the way, all of them before the first merge.
fn refuse_existing(args: &merge::Args, members: &[&Member]) -> Result<(), Problems> {
    let is_taken = |out: &Path| std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    let mut gathering = Gathering::new(members.len());
    for member in members.iter().filter(|m| is_taken(&args.out.join(&m.name))) {
        let problem = Problem::error(args.out.display().to_string(), "folders of members are not empty");
        let hint = "--resume skips what is complete and continues the rest, --overwrite replaces all";
        gathering.add(&member.name, &problem.hint(hint).into());
    }
    let problems = gathering.problems();
    if problems.has_errors() && !args.resume && !args.overwrite { Err(problems) } else { Ok(()) }
}
