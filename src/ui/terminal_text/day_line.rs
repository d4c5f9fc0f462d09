//! The line that begins a day at a terminal.
use jiff::civil::Date;

/// The line that begins a day: `--- Friday, 27 November 2026`.
pub fn format_day_line(date: Date) -> String {
    const WEEKDAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let index = |number: i8| usize::try_from(number).unwrap_or(0);
    let weekday = WEEKDAYS[index(date.weekday().to_monday_zero_offset()) % 7];
    let month = MONTHS[index(date.month() - 1) % 12];
    format!("--- {weekday}, {} {month} {}", date.day(), date.year())
}
