//! How lines reach the peers, and how their delivery is known.
mod carriers;
mod delivery;
mod direct;
mod fetch;
mod fork_repair;
mod gaps;
mod incarnation_order;
mod incomplete_logs;
mod lines;
mod lost_lines;
mod newcomers;
mod news;
mod news_verdicts;
mod relays;
mod restored_recipients;
mod storage;
mod sync;
