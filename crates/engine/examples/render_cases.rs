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
    println!("{} of {} cases are equal to Python's", cases.len() - different.len(), cases.len());
    if different.is_empty() && !cases.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
