//! Numbers of a fixed number of digits, as in times and in records that are overwritten in place.
//! Each shown line has dozens of such digits. The standard library's formatting takes ten times as
//! long.

/// Fills `digits` with the last decimal digits of `number`. Zeros come first.
pub fn fill(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
