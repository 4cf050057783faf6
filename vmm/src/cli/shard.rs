//! Which part of the work this process has, as its engine tells it.

use std::str::FromStr;

/// A part: from 0 on, and of how many.
pub(super) type Part = (u64, u64);

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shard {
    /// This part.
    Given(Part),
    /// The one that the environment names, of as many as it says, or of this many.
    Auto(Option<u64>),
}

/// Variables by which an engine tells its jobs apart.
struct Engine {
    name: &'static str,
    /// The job's number.
    index: &'static str,
    /// How many there are; no engine but Kubernetes leaves that out.
    total: Option<&'static str>,
    /// What the first job's number is.
    first: First,
}

enum First {
    Is(u64),
    /// It is in a variable, and so is the step from one to the next.
    In(&'static str, &'static str),
}

const ENGINES: &[Engine] = &[
    Engine {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        total: Some("SLURM_ARRAY_TASK_COUNT"),
        first: First::In("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
    },
    Engine { name: "Kubernetes", index: "JOB_COMPLETION_INDEX", total: None, first: First::Is(0) },
    Engine {
        name: "GitLab",
        index: "CI_NODE_INDEX",
        total: Some("CI_NODE_TOTAL"),
        first: First::Is(1),
    },
    Engine {
        name: "CircleCI",
        index: "CIRCLE_NODE_INDEX",
        total: Some("CIRCLE_NODE_TOTAL"),
        first: First::Is(0),
    },
    Engine {
        name: "Buildkite",
        index: "BUILDKITE_PARALLEL_JOB",
        total: Some("BUILDKITE_PARALLEL_JOB_COUNT"),
        first: First::Is(0),
    },
    Engine {
        name: "Bazel",
        index: "TEST_SHARD_INDEX",
        total: Some("TEST_TOTAL_SHARDS"),
        first: First::Is(0),
    },
];

impl Shard {
    /// The part, given what the environment has.
    pub(super) fn part(self, variable: impl Fn(&str) -> Option<String>) -> Result<Part, String> {
        let total = match self {
            Shard::Given(part) => return Ok(part),
            Shard::Auto(total) => total,
        };
        let mut parts = ENGINES.iter().filter(|engine| variable(engine.index).is_some());
        let Some(engine) = parts.next() else {
            let names: Vec<&str> = ENGINES.iter().map(|engine| engine.index).collect();
            return Err(format!("--shard auto finds none of {}", names.join(", ")));
        };
        if let Some(other) = parts.next() {
            return Err(format!(
                "--shard auto finds two that tell of a part, {} and {}: give --shard K/N",
                engine.index, other.index
            ));
        }
        engine.part(total, &variable)
    }
}

impl Engine {
    fn part(
        &self,
        given: Option<u64>,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Part, String> {
        let number = |name: &str| {
            let text = variable(name).ok_or_else(|| format!("{} sets no {name}", self.name))?;
            text.trim().parse::<u64>().map_err(|_| format!("{name} is no number: {text:?}"))
        };
        let index = number(self.index)?;
        let total = match (self.total, given) {
            (Some(name), given) => {
                let total = number(name)?;
                if given.is_some_and(|given| given != total) {
                    return Err(format!(
                        "{name} is {total}, which is not what --shard auto/N says"
                    ));
                }
                total
            }
            (None, Some(given)) => given,
            (None, None) => {
                return Err(format!(
                    "{} does not say of how many {} is one: give --shard auto/N",
                    self.name, self.index
                ));
            }
        };
        let (first, step) = match self.first {
            First::Is(first) => (first, 1),
            First::In(first, step) => (number(first)?, number(step)?.max(1)),
        };
        let place = index.checked_sub(first).filter(|beyond| beyond % step == 0);
        place.map(|beyond| beyond / step).filter(|place| *place < total).map(|place| (place, total)).ok_or_else(
            || {
                format!(
                    "{} {index} is none of {total} from {first} on in steps of {step}: give --shard K/N",
                    self.index
                )
            },
        )
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    /// Parts count from 1 for the user.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "it is K/N with K from 1 to N, auto, or auto/N";
        if text == "auto" {
            return Ok(Shard::Auto(None));
        }
        let (part, total) = text.split_once('/').ok_or(WRONG)?;
        let total = total.parse().ok().filter(|total: &u64| *total > 0).ok_or(WRONG)?;
        if part == "auto" {
            return Ok(Shard::Auto(Some(total)));
        }
        let part = part.parse().ok().filter(|part| (1..=total).contains(part)).ok_or(WRONG)?;
        Ok(Shard::Given((part - 1, total)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(shard: &str, variables: &[(&str, &str)]) -> Result<Part, String> {
        let shard: Shard = shard.parse().unwrap();
        let find = |name: &str| variables.iter().find(|(variable, _)| *variable == name);
        shard.part(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_part_is_given_or_found() {
        assert_eq!(part("2/8", &[("CI_NODE_INDEX", "7")]), Ok((1, 8)));
        let gitlab = [("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "4")];
        assert_eq!(part("auto", &gitlab), Ok((0, 4)));
        assert_eq!(part("auto/4", &gitlab), Ok((0, 4)));
        let bazel = [("TEST_SHARD_INDEX", "3"), ("TEST_TOTAL_SHARDS", "4")];
        assert_eq!(part("auto", &bazel), Ok((3, 4)));
        assert_eq!(part("auto/6", &[("JOB_COMPLETION_INDEX", "5")]), Ok((5, 6)));
    }

    #[test]
    fn an_array_of_slurms_begins_anywhere_and_goes_in_steps() {
        let slurm = |id| {
            let [min, step, count] =
                ["SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"];
            part("auto", &[("SLURM_ARRAY_TASK_ID", id), (min, "10"), (step, "5"), (count, "3")])
        };
        assert_eq!([slurm("10"), slurm("15"), slurm("20")], [Ok((0, 3)), Ok((1, 3)), Ok((2, 3))]);
        for id in ["5", "12", "25", "x"] {
            assert!(slurm(id).is_err(), "{id}");
        }
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        let says = |shard: &str, variables: &[(&str, &str)], words: &str| {
            let error = part(shard, variables).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        says("auto", &[], "finds none of SLURM_ARRAY_TASK_ID, ");
        says("auto", &[("JOB_COMPLETION_INDEX", "0")], "give --shard auto/N");
        says("auto/2", &[("JOB_COMPLETION_INDEX", "2")], "none of 2");
        says("auto", &[("CI_NODE_INDEX", "1")], "sets no CI_NODE_TOTAL");
        let two = [("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "2"), ("JOB_COMPLETION_INDEX", "1")];
        says("auto", &two, "finds two");
        says("auto/3", &two[..2], "is 2, which is not");
        for wrong in ["", "auto/0", "auto/x", "0/2", "3/2", "2", "1/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
