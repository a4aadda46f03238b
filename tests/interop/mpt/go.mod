module teelog.example/mpt

go 1.27.3
