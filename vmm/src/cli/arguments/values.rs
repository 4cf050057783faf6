//! How the values of options are read, and what they are where none is given.

use clap::builder::{PossibleValue, PossibleValuesParser};
use esp0::guests::GUESTS;
use esp0::run::ClockChoice;
use std::time::Duration;

pub(super) fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// An address: hexadecimal after `0x`, or decimal.
pub(super) fn address(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "it is an address below 4 GiB, such as 0x100000".into())
}

/// An exit status that QEMU's isa-debug-exit can give: `(value << 1) | 1`, of which a process has 8 bits.
pub(super) fn exit_status(text: &str) -> Result<u32, String> {
    let status = text.parse().ok().filter(|status: &u32| *status <= 255 && status % 2 == 1);
    status.ok_or_else(|| "it is (value << 1) | 1, so an odd number up to 255".into())
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

/// A time: seconds, `s` behind them or not, or minutes with `m`, as `timeout` and `sleep` read it.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), _) => (number, 1.0),
        (_, Some(number)) => (number, 60.0),
        (None, None) => (text, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| {
        "it is a number of seconds, such as `90`, `0.5` or `90s`, or of minutes, such as `2m`"
            .to_owned()
    })?;
    Duration::try_from_secs_f64(number * unit)
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
    fn addresses_and_exit_statuses_are_read() {
        assert_eq!(address("0x7c00"), Ok(0x7C00));
        assert_eq!(address("1048576"), Ok(0x10_0000));
        assert!(address("7c00h").is_err() && address("0x100000000").is_err());
        assert_eq!(exit_status("33"), Ok(33));
        for text in ["32", "0", "257", "-1", "x"] {
            assert!(exit_status(text).is_err(), "{text}");
        }
    }

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
        for (text, milliseconds) in
            [("0.5", 500), ("60", 60_000), ("60s", 60_000), ("2m", 120_000), ("0.5m", 30_000)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["0", "0s", "-1", "-1m", "inf", "infm", "1e300", "1e300m"] {
            assert_eq!(time(text), Err("it must be more than 0 and not endless".into()), "{text}");
        }
        for text in ["", "s", "m", "2h", "60 s", "60ms", "60S", "soon"] {
            let refusal = time(text).unwrap_err();
            assert!(refusal.contains("`90s`") && refusal.contains("`2m`"), "{text}: {refusal}");
        }
    }
}
