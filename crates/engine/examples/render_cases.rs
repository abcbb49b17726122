//! Compares our rendering of a chat template with Python's: `render_cases TEMPLATE CASES`, where CASES was written
//! by `tools/chat-template/render.py` for the same template. Fails when any case differs.
#![allow(clippy::print_stdout)]

#[path = "../tests/template_cases/mod.rs"]
mod template_cases;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [template, cases] = paths.as_slice() else {
        println!("usage: render_cases TEMPLATE CASES");
        return ExitCode::from(2);
    };
    let template = template_cases::read_template(template);
    let cases = template_cases::read_cases(cases);
    let different: Vec<String> = cases.iter().filter_map(|case| case.difference(&template)).collect();
    for difference in &different {
        println!("{difference}\n");
    }
    let n_compared = cases.iter().filter(|case| case.crashed.is_none()).count();
    println!("{} of {n_compared} cases are equal to Python's", n_compared - different.len());
    println!("{} more make Python crash and have no text to compare", cases.len() - n_compared);
    if different.is_empty() && n_compared > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
