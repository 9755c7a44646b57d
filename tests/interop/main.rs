//! Our daemon and conntrackd 1.4.7 on two nodes, in every combination: what one sends, the other must understand.

mod cell;
mod links;
mod matrix;
mod scenarios;
mod stats;
mod traffic;
mod texts;

/// Makes a module of tests for each direction, each calling the function of its name with the two brands.
macro_rules! in_each_direction {
    ($($test:ident),* $(,)?) => {
        crate::in_each_direction!(@module ours_to_original Ours Original: $($test),*);
        crate::in_each_direction!(@module original_to_ours Original Ours: $($test),*);
        crate::in_each_direction!(@module ours_to_ours Ours Ours: $($test),*);
    };
    (@module $module:ident $from:ident $to:ident: $($test:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(tests::daemon::Brand::$from, tests::daemon::Brand::$to);
                }
            )*
        }
    };
}
use in_each_direction;
