// Asks a running system's history by clickhouse-go over HTTP, and prints what it is told: see .ci/verify-drivers.
package main

import (
	"database/sql"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

var methods = []struct {
	name   string
	method clickhouse.CompressionMethod
}{
	{"none", clickhouse.CompressionNone},
	{"lz4", clickhouse.CompressionLZ4},
	{"zstd", clickhouse.CompressionZSTD},
	{"gzip", clickhouse.CompressionGZIP},
}

// Address, user, password, a statement of one row.
func main() {
	for _, of := range methods {
		database := clickhouse.OpenDB(&clickhouse.Options{
			Protocol:    clickhouse.HTTP,
			Addr:        []string{os.Args[1]},
			Auth:        clickhouse.Auth{Database: "natter", Username: os.Args[2], Password: os.Args[3]},
			Compression: &clickhouse.Compression{Method: of.method},
			Settings:    clickhouse.Settings{"session_timezone": "Asia/Kolkata", "max_execution_time": 30},
		})
		if err := ask(of.name, database); err != nil {
			fmt.Printf("%s\tfailed\t%v\n", of.name, err)
			os.Exit(1)
		}
		database.Close()
	}
}

func ask(name string, database *sql.DB) error {
	if err := database.Ping(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	var count uint64
	if err := database.QueryRow("SELECT count() FROM messages WHERE text != ?", "").Scan(&count); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	fmt.Printf("%s\tcount\t%d\n", name, count)

	var id uint64
	var at time.Time
	var text string
	last := "SELECT message, at, text FROM messages ORDER BY at DESC, message DESC LIMIT 1"
	if err := database.QueryRow(last).Scan(&id, &at, &text); err != nil {
		return fmt.Errorf("last: %w", err)
	}
	fmt.Printf("%s\tlast\t%d %d %s\n", name, id, at.UnixMilli(), text)
	fmt.Printf("%s\tlocal\t%s\n", name, at.Format("2006-01-02 15:04:05.000"))

	if err := many(name, database); err != nil {
		return fmt.Errorf("many: %w", err)
	}
	if err := types(name, database); err != nil {
		return fmt.Errorf("types: %w", err)
	}
	nothing := database.QueryRow("SELECT message FROM messages WHERE text = 'nobody said this'").Scan(&id)
	fmt.Printf("%s\tnothing\t%t\n", name, nothing == sql.ErrNoRows)
	_, err := database.Query("SELECT * FROM natter_store.messages")
	fmt.Printf("%s\trefused\t%t\n", name, err != nil)
	return nil
}

// More than one block, and more than is answered as a whole.
func many(name string, database *sql.DB) error {
	rows, err := database.Query("SELECT number, toString(number), toLowCardinality(toString(number % 7)) FROM numbers(300000)")
	if err != nil {
		return err
	}
	defer rows.Close()
	var sum, wrong uint64
	for rows.Next() {
		var number uint64
		var digits, rest string
		if err := rows.Scan(&number, &digits, &rest); err != nil {
			return err
		}
		if digits != fmt.Sprint(number) || rest != fmt.Sprint(number%7) {
			wrong++
		}
		sum += number
	}
	fmt.Printf("%s\tmany\t%d %d\n", name, sum, wrong)
	return rows.Err()
}

func types(name string, database *sql.DB) error {
	rows, err := database.Query(os.Args[4])
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		places := make([]any, len(columns))
		for index := range values {
			places[index] = &values[index]
		}
		if err := rows.Scan(places...); err != nil {
			return err
		}
		fmt.Printf("%s\ttypes\t", name)
		for _, value := range values {
			if of := reflect.ValueOf(value); of.Kind() == reflect.Pointer && !of.IsNil() {
				value = of.Elem().Interface()
			}
			fmt.Printf("%v|", value)
		}
		fmt.Println()
	}
	return rows.Err()
}
