package project_test

import (
	"fmt"
	"os"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

func ExampleStore_Update() {
	dir, err := os.MkdirTemp("", "registry")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := dir + "/projects.json"
	_ = os.WriteFile(path, []byte(`{
  "projects": {
    "web": {
      "path": "/src/web", // the shop
      "config": {"priority": 50}
    }
  }
}
`), 0o600)

	err = project.Store{Path: path}.Update(func(r *project.Registry) error {
		web, err := r.Get("web")
		if err != nil {
			return err
		}
		web.Config.Priority = 80
		web.Enabled = false
		return r.Set(web)
	})
	fmt.Println(err)
	text, _ := os.ReadFile(path)
	fmt.Print(string(text))
	// Output:
	// <nil>
	// {
	//   "projects": {
	//     "web": {
	//       "path": "/src/web", // the shop
	//       "config": {"priority": 80},
	//       "enabled": false
	//     }
	//   }
	// }
}

func ExampleConfig_Interval() {
	c := project.DefaultConfig()
	fmt.Println(c.Interval(5 * time.Minute))
	atOnce := time.Duration(0)
	c.CheckInterval = &atOnce
	fmt.Println(c.Interval(5 * time.Minute))
	// Output:
	// 5m0s
	// 0s
}
