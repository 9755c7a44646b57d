//! Memory that is overwritten once what was in it has been dropped.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value of another crate that holds secrets and does not wipe them. It lies on the heap and never moves, so one
/// place has to be overwritten. What the value itself put elsewhere (boxes in it, the stack) is its own business.
pub struct Wiped<T>(Box<MaybeUninit<T>>);

impl<T> Wiped<T> {
    /// Takes the value. The caller's copy on the stack is not overwritten.
    pub fn new(value: T) -> Self {
        Self(Box::new(MaybeUninit::new(value)))
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value was put there by `new` and is taken out by `drop` alone.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.0.assume_init_mut() }
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, here, and not read afterwards.
        unsafe { self.0.assume_init_drop() };
        let place = (&raw mut *self.0).cast::<MaybeUninit<u8>>();
        // SAFETY: the box owns as many bytes, and any bytes are a `MaybeUninit<u8>`.
        unsafe { std::slice::from_raw_parts_mut(place, size_of::<T>()) }.zeroize();
    }
}

impl<T> ZeroizeOnDrop for Wiped<T> {}
