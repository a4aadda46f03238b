module teelog.example/interop/mirror

go 1.25.0

require filippo.io/sunlight v0.9.0
