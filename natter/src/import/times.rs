//! Times as people read them: without a zone, and with day and month in either order.

use std::str::FromStr;

use jiff::civil;
use jiff::tz::{Offset, TimeZone};

/// In which order day, month and year stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dates {
    /// 31.12.2020
    Dmy,
    /// 12/31/2020
    Mdy,
    /// 2020-12-31
    Ymd,
}

/// Three numbers of a date, in the order in which they stand.
pub type Triple = [i32; 3];

impl Dates {
    /// The day of a date; `None`: there is no such day. A year of two digits is one of this century.
    pub fn day(self, [first, second, third]: Triple) -> Option<civil::Date> {
        let (year, month, day) = match self {
            Self::Dmy => (third, second, first),
            Self::Mdy => (third, first, second),
            Self::Ymd => (first, second, third),
        };
        let year = if year < 100 { 2000 + year } else { year };
        civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
    }
}

/// Finds out in which order the numbers of a source's dates stand: the one in which all are dates, and if that is true of several,
/// the one in which the dates never go back.
#[derive(Debug)]
pub struct Guess {
    /// Of each order: whether all were dates, whether they went on, and the last one.
    orders: [(Dates, bool, bool, Option<civil::Date>); 3],
    /// Whether every date was the same day in each order that is left.
    is_same: bool,
}

impl Default for Guess {
    fn default() -> Self {
        let orders = [Dates::Dmy, Dates::Mdy, Dates::Ymd].map(|order| (order, true, true, None));
        Self { orders, is_same: true }
    }
}

impl Guess {
    /// Takes the next date of the source in.
    pub fn saw(&mut self, triple: Triple) {
        // A year has four digits or stands last: nobody writes the day of a month as the year's two digits first.
        let has_long_year = triple.iter().any(|number| *number > 99);
        for (order, is_date, goes_on, last) in &mut self.orders {
            let year_first = *order == Dates::Ymd;
            let is_possible = if year_first { triple[0] > 31 } else { !has_long_year || triple[2] > 99 };
            match order.day(triple).filter(|_| is_possible) {
                None => *is_date = false,
                Some(day) => {
                    *goes_on &= last.is_none_or(|last| last <= day);
                    *last = Some(day);
                }
            }
        }
        let mut days = self.orders.iter().filter(|order| order.1).map(|order| order.3);
        let first = days.next();
        self.is_same &= days.all(|day| Some(day) == first);
    }

    /// The order; `None`: it cannot be told.
    pub fn order(&self) -> Option<Dates> {
        let possible: Vec<_> = self.orders.iter().filter(|order| order.1).collect();
        let going_on: Vec<_> = possible.iter().copied().filter(|order| order.2).collect();
        match (possible.as_slice(), going_on.as_slice()) {
            ([only], _) | (_, [only]) => Some(only.0),
            ([first, ..], _) if self.is_same => Some(first.0),
            _ => None,
        }
    }
}

/// Where the clock hung that wrote a source's times.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(offset) = offset(text) {
            return Ok(Self(TimeZone::fixed(offset)));
        }
        let unknown = |_| format!("`{text}` is no time zone that is known; such are UTC, +05:30 and Europe/Berlin");
        TimeZone::get(text).map(Self).map_err(unknown)
    }
}

/// Such as `+05:30` or `-3`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

impl Zone {
    /// Unix milliseconds of a local time. Of an hour that the clock showed twice, the first; one that it passed over is an hour later.
    pub fn at_ms(&self, day: civil::Date, hour: i8, minute: i8, second: i8) -> Option<i64> {
        let time = civil::Time::new(hour, minute, second, 0).ok()?;
        Some(self.0.to_timestamp(day.to_datetime(time)).ok()?.as_millisecond())
    }
}

/// The clock's hour in a day of twice twelve.
pub fn hour_of(hour: i8, is_afternoon: bool) -> Option<i8> {
    (1..=12).contains(&hour).then(|| hour % 12 + if is_afternoon { 12 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(dates: &[Triple]) -> Option<Dates> {
        let mut guess = Guess::default();
        for triple in dates {
            guess.saw(*triple);
        }
        guess.order()
    }

    #[test]
    fn the_order_is_found_where_it_can_be() {
        for (dates, order) in [
            (&[[1, 2, 20], [13, 2, 20]][..], Some(Dates::Dmy)),
            (&[[1, 2, 20], [2, 13, 20]], Some(Dates::Mdy)),
            (&[[2020, 12, 31]], Some(Dates::Ymd)),
            // In one order they never go back.
            (&[[1, 11, 20], [1, 12, 20], [2, 1, 21]], None),
            (&[[3, 1, 20], [4, 1, 20], [1, 2, 20]], Some(Dates::Dmy)),
            (&[[5, 5, 20]], Some(Dates::Dmy)),
            (&[[1, 2, 20]], None),
            (&[[1, 2, 20], [1, 3, 20]], None),
            (&[[13, 13, 20]], None),
        ] {
            assert_eq!(guess(dates), order, "{dates:?}");
        }
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let day = Dates::Dmy.day([1, 7, 20]).unwrap();
        let noon = |zone: &str| zone.parse::<Zone>().unwrap().at_ms(day, 12, 0, 0).unwrap();
        let utc = noon("UTC");
        assert_eq!(utc, 1_593_604_800_000);
        assert_eq!(noon("+05:30"), utc - 19_800_000);
        assert_eq!(noon("-3"), utc + 10_800_000);
        assert_eq!(noon("Europe/Berlin"), utc - 7_200_000, "summer time");
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("`Mars/Olympus` is no time zone"));
        assert!("+27".parse::<Zone>().is_err());
        assert_eq!(
            (hour_of(12, false), hour_of(12, true), hour_of(11, true), hour_of(13, true)),
            (Some(0), Some(12), Some(23), None)
        );
    }
}
