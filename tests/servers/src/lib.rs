//! Private database servers for tests. They are started on demand, and end with the process that started them, however it ends. Also the
//! tests that every driver shares.

mod database;
mod disk;
mod load;
mod modules;
mod mysql;
mod password;
mod patience;
mod postgres;
mod power;
mod proxy;
mod redis;
mod required;
mod service;
mod small;
mod watchdog;

pub use self::database::Database;
pub use self::disk::Disk;
pub use self::load::{
    CROWD, WRITERS, append_in_turn, appended_once_each_although_answers_are_cut_off, appended_once_each_while, at_once,
    operated_while,
};
pub use self::modules::assert_has_modules;
pub use self::mysql::{Flavour, MysqlServer, mariadb, mariadb_unless_missing, mysql, mysql_unless_missing};
pub use self::postgres::{PostgresServer, postgres, postgres_unless_missing, without_autovacuum};
pub use self::power::Power;
pub use self::proxy::Proxy;
pub use self::redis::RedisServer;
pub use self::small::on_a_small_file_system;
