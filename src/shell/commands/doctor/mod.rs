//! `p2pchat doctor`: finds out why nobody is here. Each file checks one subject.
pub mod directory;
pub mod echo;
pub mod finders;
pub mod firewall;
pub mod host;
pub mod lan_checks;
pub mod lan_probe;
pub mod lan_report;
pub mod output;
pub mod routes;
pub mod run;
pub mod tcp_attempt;
