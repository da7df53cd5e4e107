// Asks a running system's history by clickhouse-go over HTTP, and prints what it is told: see .ci/verify-drivers.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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
		options := &clickhouse.Options{
			Protocol:    clickhouse.HTTP,
			Addr:        []string{os.Args[1]},
			Auth:        clickhouse.Auth{Database: "natter", Username: os.Args[2], Password: os.Args[3]},
			Compression: &clickhouse.Compression{Method: of.method},
			Settings:    clickhouse.Settings{"session_timezone": "Asia/Kolkata", "max_execution_time": 30},
		}
		if err := ask(of.name, options); err != nil {
			fmt.Printf("%s\tfailed\t%v\n", of.name, err)
			os.Exit(1)
		}
	}
}

func ask(name string, options *clickhouse.Options) error {
	connection, err := clickhouse.Open(options)
	if err != nil {
		return err
	}
	defer connection.Close()
	background := context.Background()
	if err := connection.Ping(background); err != nil {
		return fmt.Errorf("ping: %w", err)
	}

	var count uint64
	if err := connection.QueryRow(background, "SELECT count() FROM messages WHERE text != ?", "").Scan(&count); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	fmt.Printf("%s\tcount\t%d\n", name, count)

	var id uint64
	var at time.Time
	var text string
	last := "SELECT message, at, text FROM messages ORDER BY at DESC, message DESC LIMIT 1"
	if err := connection.QueryRow(background, last).Scan(&id, &at, &text); err != nil {
		return fmt.Errorf("last: %w", err)
	}
	fmt.Printf("%s\tlast\t%d %d %s\n", name, id, at.UnixMilli(), text)
	fmt.Printf("%s\tlocal\t%s\n", name, at.Format("2006-01-02 15:04:05.000"))

	// More than one block, and more than is answered as a whole.
	rows, err := connection.Query(background, "SELECT number, toString(number), toLowCardinality(toString(number % 7)) FROM numbers(300000)")
	if err != nil {
		return fmt.Errorf("many: %w", err)
	}
	var sum, wrong uint64
	for rows.Next() {
		var number uint64
		var digits, rest string
		if err := rows.Scan(&number, &digits, &rest); err != nil {
			return fmt.Errorf("many: %w", err)
		}
		if digits != fmt.Sprint(number) || rest != fmt.Sprint(number%7) {
			wrong++
		}
		sum += number
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("many: %w", err)
	}
	fmt.Printf("%s\tmany\t%d %d\n", name, sum, wrong)

	if err := types(name, connection); err != nil {
		return fmt.Errorf("types: %w", err)
	}
	_, err = connection.Query(background, "SELECT * FROM natter_store.messages")
	fmt.Printf("%s\trefused\t%t\n", name, err != nil)
	return nil
}

func types(name string, connection driver.Conn) error {
	rows, err := connection.Query(context.Background(), os.Args[4])
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var values []any
		for _, column := range rows.ColumnTypes() {
			values = append(values, reflect.New(column.ScanType()).Interface())
		}
		if err := rows.Scan(values...); err != nil {
			return err
		}
		fmt.Printf("%s\ttypes\t", name)
		for _, value := range values {
			of := reflect.ValueOf(value)
			for of.Kind() == reflect.Pointer && !of.IsNil() {
				of = of.Elem()
			}
			fmt.Printf("%v|", of.Interface())
		}
		fmt.Println()
	}
	return rows.Err()
}
