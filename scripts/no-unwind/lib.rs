//! An unwinder that finds no frames, for programs that abort on panic.
//!
//! std prints a backtrace through `_Unwind_Backtrace`, which calls it back for each frame. This one
//! never does, so link-time optimisation removes what std would have done there: its reader of debug
//! information, 190 KB that a stripped program cannot use. As every function that std imports from
//! the unwinder is defined here, libgcc_s is not loaded, which would take 100 KB of memory.
//!
//! The names and types are those of the Itanium C++ ABI, Level I, "Base ABI". They are empty where
//! panics unwind (`cargo test`, debug builds): there the real unwinder is linked.
#![no_std]
#![cfg(panic = "abort")]

use core::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(
    _trace: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
    _argument: *mut c_void,
) -> c_int {
    END_OF_STACK
}

// Called by std's personality routine, which nothing calls: no exception is ever raised.

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetDataRelBase(_context: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIPInfo(_context: *mut c_void, _before_instruction: *mut c_int) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetLanguageSpecificData(_context: *mut c_void) -> *mut c_void {
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetRegionStart(_context: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetTextRelBase(_context: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetGR(_context: *mut c_void, _register: c_int, _value: usize) {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetIP(_context: *mut c_void, _value: usize) {}
