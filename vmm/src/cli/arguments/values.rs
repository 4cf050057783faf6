//! How the values of options are read, and what they are where none is given.

use clap::builder::{PossibleValue, PossibleValuesParser};
use esp0::guests::GUESTS;
use esp0::run::ClockChoice;
use std::time::Duration;

pub(super) fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

pub(super) fn seed(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "it is a number, decimal or after 0x hexadecimal".into())
}

pub(super) fn guest_names() -> PossibleValuesParser {
    GUESTS
        .iter()
        .map(|guest| PossibleValue::new(guest.name).help(guest.summary))
        .collect::<Vec<_>>()
        .into()
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "it must be more than 0 and not endless".into())
}

/// The longest time that an instruction or an exit can take, in nanoseconds.
const LONGEST: u32 = 1_000_000_000;
/// How much slower than ours the guest's time can go.
const SLOWEST: u32 = 1_000_000;

pub(super) fn clock(text: &str) -> Result<ClockChoice, String> {
    let nanoseconds = |number| within(number, "nanoseconds", LONGEST);
    match text.split_once(':') {
        None if text == "real" => Ok(ClockChoice::Real),
        None if text == "deterministic" => Ok(ClockChoice::DETERMINISTIC),
        None if text == "exits" => Ok(ClockChoice::EXITS),
        Some(("exits", number)) => {
            Ok(ClockChoice::Exits { nanoseconds_per_exit: nanoseconds(number)?.into() })
        }
        Some(("deterministic", number)) => Ok(ClockChoice::Deterministic {
            nanoseconds_per_instruction: nanoseconds(number)?.into(),
        }),
        Some(("real", number)) => {
            Ok(ClockChoice::Slowed { factor: within(number, "the factor", SLOWEST)? })
        }
        _ => Err("it is `real`, `real:FACTOR`, `exits`, `exits:NANOSECONDS`, `deterministic`, or \
                 `deterministic:NANOSECONDS`"
            .into()),
    }
}

/// A number from 1 to `most`, of what is called `what`.
fn within(text: &str, what: &str, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{what} must be a number from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_times_are_read() {
        assert_eq!(clock("real"), Ok(ClockChoice::Real));
        assert_eq!(clock("real:20"), Ok(ClockChoice::Slowed { factor: 20 }));
        assert!(clock("real:0").is_err() && clock("real:x").is_err());
        assert_eq!(
            clock("deterministic:7"),
            Ok(ClockChoice::Deterministic { nanoseconds_per_instruction: 7 })
        );
        assert!(clock("deterministic:0").is_err() && clock("fast").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("inf").is_err());
    }
}
